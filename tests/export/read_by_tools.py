"""Read an exported annotation file with its own program's library, in an environment that has it; write the masks.

python read_by_tools.py TOOL FILE IMAGE OUT.npz, where OUT gets masks (K, H, W) and nodes, parents (K,) where the
library reads them; or the arrays of by_napari, by_ultrack.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np


def by_label_studio(file, _):
    from label_studio_sdk.converter.brush import decode_rle
    from label_studio_sdk.label_interface import LabelInterface

    names = "".join(f'<Label value="{name}"/>' for name in ("scene", "object", "part", "superpixels", "cut"))
    tags = f'<BrushLabels name="brush" toName="image">{names}</BrushLabels>'
    tags += f'<PolygonLabels name="polygon" toName="image">{names}</PolygonLabels>'
    interface = LabelInterface(f'<View><Image name="image" value="$image"/>{tags}</View>')
    (task,) = json.loads(file.read_text())
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction)
    assert interface.validate_task({"data": task["data"]})
    masks, nodes, parents = [], [], []
    for result in prediction["result"]:
        shape = result["original_height"], result["original_width"]
        if result["type"] == "brushlabels":
            masks.append(decode_rle(result["value"]["rle"]).reshape(*shape, 4)[..., 3] > 0)
        nodes.append(int(result["id"].split("-")[0]))
        parents.append(int(result.get("parentID", "-1").rsplit("-", 1)[0] or -1))
    return masks, nodes, parents


def by_labelme(file, image):
    from labelme._label_file import LabelFile

    shutil.copy(image, file.parent)
    read = LabelFile(str(file))
    masks = []
    for shape in read.shapes:
        mask = np.zeros((json.loads(file.read_text())["imageHeight"], json.loads(file.read_text())["imageWidth"]), bool)
        if shape["shape_type"] == "mask":
            (x0, y0), (x1, y1) = np.array(shape["points"], int)
            mask[y0 : y1 + 1, x0 : x1 + 1] = shape["mask"]
        masks.append(mask)
    others = [shape["other_data"] for shape in read.shapes]
    return masks, [other["node"] for other in others], [other["parent"] for other in others]


def by_datumaro(file, image, form, place):
    import datumaro

    with tempfile.TemporaryDirectory() as folder:
        for path, source in ((place, file), (f"images/{image.name}", image)):
            (Path(folder) / path).parent.mkdir(exist_ok=True)
            shutil.copy(source, Path(folder) / path)
        (item,) = datumaro.Dataset.import_from(folder, form)
        read = [annotation for annotation in item.annotations if annotation.type.name == "mask"]
        masks = [np.asarray(one.image, bool) for one in read]
    if form == "cvat":
        return masks, *([int(one.attributes[key]) for one in read] for key in ("node", "parent"))
    return masks, [one.id - 1 for one in read], []  # it drops keys that COCO does not have


def by_fiftyone(file, image):
    import fiftyone
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    importer = COCODetectionDatasetImporter(
        data_path=str(image.parent),
        labels_path=str(file),
        label_types="segmentations",
        extra_attrs=True,
        include_id=True,
    )
    with importer:
        ((path, metadata, labels),) = list(importer)
    labels = labels["segmentations"] if isinstance(labels, dict) else labels
    sample = fiftyone.Sample(filepath=path, metadata=metadata, regions=labels)
    masks, nodes, parents = [], [], []
    for detection in sample.regions.detections:
        mask = np.zeros((metadata.height, metadata.width), bool)
        x, y = np.rint(np.array(detection.bounding_box[:2]) * [metadata.width, metadata.height]).astype(int)
        height, width = detection.mask.shape
        mask[y : y + height, x : x + width] = detection.mask
        masks.append(mask)
        nodes.append(detection["coco_id"] if "coco_id" in detection else len(nodes) + 1)
        parents.append(detection["parent_id"] or 0)
    return masks, np.array(nodes) - 1, np.array(parents) - 1


def by_napari(folder):
    """Return the finest array and the scale of each label layer that napari would show, and the shapes below it."""
    from napari_ome_zarr._reader import napari_get_reader

    layers = napari_get_reader(str(folder))(str(folder))
    actual = {meta["name"].rsplit("/", 1)[-1]: (data, meta) for data, meta, kind in layers if kind == "labels"}
    arrays = {name: np.asarray(data[0]) for name, (data, _) in actual.items()}
    scales = {f"{name} scale": meta["scale"] for name, (_, meta) in actual.items()}
    return arrays | scales | {f"{name} shapes": [level.shape for level in data] for name, (data, _) in actual.items()}


def by_ultrack(maps):
    """Return the candidate regions that ultrack makes of foreground and contours (T, H, W), and their frames."""
    import sqlalchemy
    import ultrack
    from sqlalchemy.orm import Session
    from ultrack.core.database import NodeDB

    arrays = np.load(maps)
    with tempfile.TemporaryDirectory() as folder:
        config = ultrack.MainConfig()
        config.data_config.working_dir = folder
        config.segmentation_config.min_area, config.segmentation_config.max_area = 50, 10**6
        config.segmentation_config.n_workers = 1
        ultrack.segment(arrays["foreground"], arrays["contours"], config)
        with Session(sqlalchemy.create_engine(config.data_config.database_path)) as session:
            rows = session.query(NodeDB.t, NodeDB.pickle).all()
    masks = np.zeros((len(rows), *arrays["foreground"].shape[1:]), bool)
    for mask, (_, node) in zip(masks, rows, strict=True):
        top, left, bottom, right = node.bbox
        mask[top:bottom, left:right] = node.mask
    return {"masks": masks, "frames": [frame for frame, _ in rows]}


READERS = {
    "label-studio": by_label_studio,
    "label-studio-polygons": by_label_studio,
    "labelme": by_labelme,
    "cvat": lambda file, image: by_datumaro(file, image, "cvat", "annotations.xml"),
    "coco": lambda file, image: by_datumaro(file, image, "coco_instances", "annotations/instances_default.json"),
    "fiftyone": by_fiftyone,
}

if __name__ == "__main__":
    tool, file, image, out = sys.argv[1:]
    if tool in ("napari", "ultrack"):
        np.savez(out, **{"napari": by_napari, "ultrack": by_ultrack}[tool](Path(file)))
    else:
        masks, nodes, parents = READERS[tool](Path(file), Path(image))
        np.savez(out, masks=np.array(masks), nodes=nodes, parents=parents)
