"""Add regions marked in the viewer to the annotations of a data set, and read them with the COCO tools.

supercuts segment photo.jpg -o out     # writes out/photo.npz and the viewer, out/photo.html
...                                    # select or scribble there, name the labels, save COCO JSON
python examples/annotation_handover.py photo_coco.json out/photo.npz dataset.json

dataset.json is created, or added to: categories are matched by name, ids stay unique, and an image that is handed over
again replaces its annotations. Each gains data of the tree: its node, superpixels, altitude, level.
"""

import json
import sys
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

import supercuts
from supercuts.core.files import atomic_path
from supercuts.hierarchy.selection import best_union


def check(coco, h):
    """Refuse annotations that do not fit this hierarchy: another size, or borders that it does not have."""
    (image,) = coco.loadImgs(coco.getImgIds())
    if (image["height"], image["width"]) != h.shape:
        sys.exit(f"The annotations are of {image['width']}x{image['height']} pixels, the hierarchy {h}: give its own.")
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation).astype(bool)
        inside, areas = np.bincount(h.labels[mask], minlength=h.n_leaves), np.bincount(h.labels.ravel())
        if mask.sum() != annotation["area"] or not np.isin(inside / areas, (0, 1)).all():
            sys.exit(f"Annotation {annotation['id']} cuts superpixels: it was not marked in the viewer of {h}.")
        yield annotation, inside, areas


def from_tree(h, table, inside, areas):
    """Return the tree's data of a union of superpixels: its node, or the best node of many pieces."""
    (node,) = best_union(h.parents, inside, areas, k=1).tolist()
    is_node = bool(table.area[node] == inside.sum() == inside[h.leaves_of(node)].sum())
    known = {"node": node, "altitude": float(table.altitude[node]), "level": str(table.level[node])}
    return {"superpixels": int((inside > 0).sum()), **(known if is_node else {"node": None})}


def add(dataset, coco, h):
    """Add the annotations of one image to the document of a data set, in place."""
    (image,) = coco.loadImgs(coco.getImgIds())
    new_id = {key: 1 + max((entry["id"] for entry in dataset[key]), default=0) for key in dataset}
    same = {entry["file_name"]: entry["id"] for entry in dataset["images"]}
    image_id = same.get(image["file_name"], new_id["images"])
    dataset["images"] = [entry for entry in dataset["images"] if entry["id"] != image_id] + [image | {"id": image_id}]
    dataset["annotations"] = [entry for entry in dataset["annotations"] if entry["image_id"] != image_id]
    categories = {entry["name"]: entry["id"] for entry in dataset["categories"]}
    for category in coco.loadCats(coco.getCatIds()):
        if category["name"] not in categories:
            categories[category["name"]] = new_id["categories"]
            dataset["categories"].append({"id": new_id["categories"], "name": category["name"]})
            new_id["categories"] += 1
    table = h.region_table()
    for offset, (annotation, inside, areas) in enumerate(check(coco, h)):
        runs = coco.annToRLE(annotation)
        name = coco.cats[annotation["category_id"]]["name"]
        ids = {"id": new_id["annotations"] + offset, "image_id": image_id, "category_id": categories[name]}
        runs = {"size": runs["size"], "counts": runs["counts"].decode("ascii")}
        dataset["annotations"].append(annotation | ids | {"segmentation": runs} | from_tree(h, table, inside, areas))


def main(marked, hierarchy, target):
    """Add one image, then read the data set with the COCO tools like any other program."""
    empty = {"images": [], "annotations": [], "categories": []}
    dataset = json.loads(Path(target).read_text()) if Path(target).exists() else empty
    add(dataset, COCO(marked), supercuts.read(hierarchy))
    with atomic_path(target) as temporary:
        temporary.write_text(json.dumps(dataset))
    coco = COCO(target)
    for category_id, category in coco.cats.items():
        annotations = coco.loadAnns(coco.getAnnIds(catIds=[category_id]))
        pixels = [int(coco.annToMask(annotation).sum()) for annotation in annotations]
        assert pixels == rle.area([annotation["segmentation"] for annotation in annotations]).tolist()
        nodes = [annotation["node"] for annotation in annotations]
        print(f"{category['name']}: {len(annotations)} annotations, pixels {pixels}, nodes {nodes}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: annotation_handover.py MARKED_coco.json HIERARCHY.npz DATASET.json")
    main(*sys.argv[1:])
