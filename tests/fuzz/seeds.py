"""Valid files of every kind that is read, small enough to be changed thousands of times.

In   nothing
Out  by kind: seeds, each with the files of one input by their place in a folder, and the one to break
Not  broken files (corpus.py, forgeries.py)
"""

import io
import json
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import scipy.io
import tifffile
import torch
from corpus import npy, read_zip, write_zip
from PIL import Image

Seed = tuple[dict[str, bytes], str]
LABELS = np.repeat(np.arange(4, dtype=np.int32), 6)[None] + np.zeros((8, 1), np.int32)


def example_hierarchy():
    from supercuts.hierarchy.tree import Hierarchy

    rng = np.random.default_rng(0)
    return Hierarchy(
        labels=LABELS,
        parents=np.array([4, 4, 5, 5, 6, 6, 6], np.int32),
        altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], np.float32),
        embeddings=rng.random((4, 3), dtype=np.float32),
        image=rng.integers(0, 256, (*LABELS.shape, 3), np.uint8),
        levels={"scene": 0.7, "object": 0.5, "part": 0.2},
    )


def hierarchies() -> list[Seed]:
    plain = example_hierarchy()
    edited = plain.merge(0, 2).lock(1)
    return [one("a.npz", _written("a.npz", h.save)) for h in (plain, edited)]


def pictures() -> list[Seed]:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (9, 13, 3), np.uint8)
    image = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[274] = 6
    grey16 = rng.integers(0, 65536, (9, 13), np.uint16)
    frames = [image.convert("P"), image.rotate(90).convert("P")]
    files = {
        "rgb.png": _saved(image, "PNG"),
        "palette.png": _saved(image.convert("P"), "PNG", transparency=3),
        "deep.png": _saved(Image.fromarray(grey16), "PNG"),
        "alpha.png": _saved(image.convert("RGBA"), "PNG", exif=exif),
        "turned.jpg": _saved(image, "JPEG", exif=exif),
        "cmyk.jpg": _saved(image.convert("CMYK"), "JPEG"),
        "stages.jpg": _saved(image, "JPEG", progressive=True),
        "moving.gif": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "plain.bmp": _saved(image, "BMP"),
        "plain.webp": _saved(image, "WEBP"),
        "lzw.tif": _saved(image, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": _saved(image, "TIFF", compression="jpeg"),
        "tiled.tif": _tiff(rng.integers(0, 65536, (40, 50, 3), np.uint16), tile=(16, 16), photometric="rgb"),
        "big.tif": _tiff(grey16, bigtiff=True),
        "deflated.tif": _tiff(rng.random((9, 13, 5), dtype=np.float32), compression="zlib", planarconfig="contig"),
        "inks.tif": _saved(image.convert("CMYK"), "TIFF"),
        "lab.tif": _saved(image.convert("LAB"), "TIFF"),
        "colors.tif": _saved(image.convert("P"), "TIFF"),
        "alpha.tif": _saved(image.convert("RGBA"), "TIFF"),
        "j2k.tif": _tiff(rgb, photometric="rgb", compression="jpeg2000"),
        "deep_rgb.png": imagecodecs.png_encode(rng.integers(0, 65536, (9, 13, 3), np.uint16)),
        "bands.npy": npy(rng.random((9, 13, 5), dtype=np.float32)),
        "grey.npy": npy(grey16),
    }
    return [one(name, content) for name, content in files.items()]


def stacks() -> list[Seed]:
    """Return TIFFs of several planes, and georeferenced ones."""
    rng = np.random.default_rng(2)
    planes = rng.integers(0, 65536, (3, 2, 9, 13), np.uint16)
    files = {
        "stack.ome.tif": _tiff(planes, ome=True, metadata={"axes": "ZCYX"}, photometric="minisblack"),
        "stack.tif": _tiff(planes, imagej=True, metadata={"axes": "ZCYX"}),
        "named.tif": _tiff(planes[0], metadata={"axes": "CYX"}, photometric="minisblack", compression="zlib"),
        "pages.tif": _tiff(planes[:, 0], metadata=None, photometric="minisblack", tile=(16, 16)),
        "rows.tif": _tiff(np.moveaxis(planes[0], 0, -1), metadata=None, photometric="minisblack"),
        "map.tif": _map(nodata=0),
        "sparse.tif": _map(tiled=True, blockxsize=16, blockysize=16, sparse_ok=True, count=5, dtype="float32"),
        "mask.tif": _map(mask=True, compress="deflate", interleave="pixel"),
        "overviews.tif": _map(overviews=[2], nodata=255, compress="lzw", predictor=2),
    }
    return [one(name, content) for name, content in files.items()]


def _map(mask: bool = False, overviews: list[int] = [], **options) -> bytes:  # noqa: B006 (it is only read)
    import rasterio
    from rasterio.io import MemoryFile

    profile = {"driver": "GTiff", "height": 40, "width": 48, "count": 3, "dtype": "uint8", "crs": "EPSG:32632"}
    values = np.random.default_rng(3).integers(0, 200, (5, 16, 48)).astype(np.float64) / 200
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(**profile | options, transform=rasterio.Affine(2, 0, 5e5, 0, -2, 5e6)) as target:
            scale = 1 if target.dtypes[0] == "float32" else 255
            target.write((values[: target.count] * scale).astype(target.dtypes[0]), window=((0, 16), (0, 48)))
            if mask:
                target.write_mask(np.arange(40)[:, None] + np.zeros(48) > 3)
            if overviews:
                target.build_overviews(overviews)
        content: bytes = memory.read()
    return content


def arrays() -> list[Seed]:
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = LABELS.astype(np.uint16), LABELS.astype(np.float64)
    ucm = np.zeros((2 * LABELS.shape[0] + 1, 2 * LABELS.shape[1] + 1))
    return [
        one("segs.mat", _mat({"segs": cell})),
        one("ucm.mat", _mat({"ucm2": ucm})),
        one("small.mat", _mat({"labels": LABELS}, do_compression=True)),
        one("old.mat", _mat({"labels": LABELS.astype(float)}, format="4")),
        one("labels.npy", npy(LABELS)),
        one("arrays.npz", write_zip([("labels.npy", npy(LABELS)), ("other.npy", npy(np.zeros(3)))])),
        one("labels.png", _saved(Image.fromarray(LABELS.astype(np.uint8)), "PNG")),
        one("palette.png", _saved(Image.fromarray(LABELS.astype(np.uint8)).convert("P"), "PNG")),
        one("labels.tif", _tiff(LABELS)),
    ]


def configs() -> list[Seed]:
    text = """model: {head_channels: [4, 4, 4, 4], embedding_channels: 3}
data: &data {root: data, split: train, crop_px: 48, workers: 0}
loss: {ssn_crop_px: 32, ssn_cells: [4, 9]}
max_steps: 4
out: runs/a
precision: 32-true
"""
    return [one("a.yaml", text.encode())]


def networks() -> list[Seed]:
    from supercuts.merging.affinity import Perceptrons
    from supercuts.networks.files import save_network, write_calibration
    from supercuts.networks.network import Calibration
    from supercuts.networks.ssn import SSN
    from supercuts.networks.ssn_config import SSNConfig

    torch.manual_seed(0)
    network = SSN(SSNConfig(head_channels=(2, 2, 2, 2), embedding_channels=1, region_channels=2))
    shapes = {"mean": 3, "scale": 3, "first": (2, 4, 2), "second": (2, 3, 2), "last": (2, 3)}
    learned = Perceptrons(**{name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    arrays = {f"figure_ground.{name}": values for name, values in learned.arrays().items()}

    def write(path: Path) -> None:
        save_network(path, network, {"scene": 0.7, "object": 0.4}, torch.float16)
        write_calibration(path, Calibration({"scene": 0.7}, arrays, "photographs"))

    return [one("model.safetensors", _written("model.safetensors", write))]


def checkpoints() -> list[Seed]:
    rng = np.random.default_rng(2)
    state = {f"module.backbone.blocks.{i}.w": torch.from_numpy(rng.random((3, 4))) for i in range(3)}
    full = {"teacher": state, "epoch": 3, "args": {"lr": 0.1}}
    legacy = io.BytesIO()
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    # PyTorch names the folder in the archive after the file: made equal, so that the bytes are
    zipped = [
        write_zip(read_zip(_written("x.pth", lambda path, kept=kept: torch.save(kept, path))).items())
        for kept in (state, full)
    ]
    return [one("plain.pth", zipped[0]), one("full.ckpt", zipped[1]), one("old.pt", legacy.getvalue())]


def refiners() -> list[Seed]:
    from supercuts.refine.refine_config import RefineConfig
    from supercuts.refine.refiner import KanezakiCNN, save_refiner

    config = RefineConfig(n_features=4, n_classes=5)
    network = KanezakiCNN(config, 3)
    return [
        one("net.safetensors", _written("x.safetensors", lambda path: save_refiner(path, network, config, ["a.png"])))
    ]


def learned_networks() -> list[Seed]:
    from supercuts.selftaught.learned import make_learned, save_learned
    from supercuts.selftaught.wnet import WNetConfig

    network = make_learned(WNetConfig(widths=(2, 4), classes=3), False)
    return [one("net.safetensors", _written("x.safetensors", lambda path: save_learned(path, network)))]


def scribbles() -> list[Seed]:
    marks = np.full(LABELS.shape, 255, np.uint8)
    marks[2:4, 3:9] = 1
    return [one("marks.png", _saved(Image.fromarray(marks), "PNG")), one("marks.npy", npy(marks))]


def bsds() -> list[Seed]:
    cells = np.empty((1, 2), object)
    for i in range(2):
        cells[0, i] = {"Segmentation": (LABELS + 1).astype(np.uint16), "Boundaries": np.zeros(LABELS.shape, np.uint8)}
    return [one("1.mat", _mat({"groundTruth": cells})), one("1.mat", _mat({"groundTruth": cells}, do_compression=True))]


def clothes() -> list[Seed]:
    return [one("0001.mat", _mat({"groundtruth": LABELS.astype(np.uint8)}))]


def voc() -> list[Seed]:
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5.5</xmax><ymax>6</ymax></bndbox>"
    text = f"<annotation><object><name>cat</name><difficult>0</difficult>{box}</object></annotation>"
    return [one("000001.xml", text.encode())]


def coco() -> list[Seed]:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 24}],
        "categories": [{"id": 1, "name": "wheel"}, {"id": 2, "name": "door"}],
        "annotations": [
            {
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]],
                "bbox": [0, 0, 4, 4],
            },
            {
                "image_id": 1,
                "category_id": 2,
                "segmentation": {"size": [8, 24], "counts": [10, 20, 162]},
                "bbox": [1, 1, 2, 2],
            },
            {"image_id": 1, "category_id": 2, "segmentation": {"size": [8, 24], "counts": "P6"}, "bbox": [1, 1, 2, 2]},
        ],
    }
    photo = _saved(Image.new("RGB", (24, 8)), "JPEG")
    return [({"annotations.json": json.dumps(document).encode(), "JPEGImages/a.jpg": photo}, "annotations.json")]


def cub() -> list[Seed]:
    files = {
        "images.txt": b"1 001.Bird/a.jpg\n2 001.Bird/b.jpg\n",
        "images/001.Bird/a.jpg": b"",
        "train_test_split.txt": b"1 0\n2 1\n",
        "bounding_boxes.txt": b"1 1.0 2.0 5.0 4.0\n2 1.0 2.0 5.0 4.0\n",
        "parts/parts.txt": b"1 back\n2 left eye\n",
        "parts/part_locs.txt": b"1 1 2.0 3.0 1\n1 2 0.0 0.0 0\n2 1 2.0 3.0 1\n2 2 0.0 0.0 0\n",
    }
    return [(files, name) for name in files if name.endswith(".txt")]


def masks() -> list[Seed]:
    mask = (LABELS > 1).astype(np.uint8) * 255
    return [one("m.png", _saved(Image.fromarray(mask), "PNG")), one("m.bmp", _saved(Image.fromarray(mask), "BMP"))]


def scores() -> list[Seed]:
    """Return the scores that evaluation stores for an image; readers.py fills in `origin`."""
    values = {f"v{i}": i / 10 for i in range(10)}
    return [one("score.json", json.dumps({"origin": "ORIGIN", "score": values}).encode())]


def documents() -> list[Seed]:
    document = {"image": "a.png", "height": 8, "width": 24, "labels": 3, "files": ["a_labels.png"], "steps": 5}
    return [one("a_refine.json", json.dumps(document).encode())]


def graphs() -> list[Seed]:
    data = {
        "x": torch.ones(3, 2),
        "pos": torch.ones(3, 2),
        "edge_index": torch.tensor([[0, 1], [1, 2]]),
        "edge_attr": torch.ones(2, 4),
    }
    content = _written("a.pt", lambda path: torch.save(data, path))
    photo = _saved(Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 24, 3), np.uint8)), "PNG")
    settings = json.dumps({"superpixels": 9, "model": "MODEL"}).encode()
    files = {"graphs/a.pt": content, "graphs/settings.json": settings, "a.png": photo}
    return [(files, "graphs/a.pt"), (files, "graphs/settings.json")]


def georeferences() -> list[Seed]:
    try:
        import rasterio
        from rasterio.io import MemoryFile
    except ImportError:  # optional, for these files alone
        return []

    with MemoryFile() as memory:
        profile = {"driver": "GTiff", "height": 8, "width": 24, "count": 1, "dtype": "uint8", "crs": "EPSG:32632"}
        with memory.open(**profile, transform=rasterio.Affine(2, 0, 5e5, 0, -2, 5e6)) as target:
            target.write(LABELS[None].astype(np.uint8))
        content = memory.read()
    return [one("place.tif", content)]


SEEDS = {
    "hierarchy": hierarchies,
    "picture": pictures,
    "bands": lambda: [*pictures(), *stacks()],
    "scene": lambda: [*pictures(), *stacks()],
    "result": arrays,
    "label map": arrays,
    "config": configs,
    "network": networks,
    "checkpoint": checkpoints,
    "refiner": refiners,
    "learned network": learned_networks,
    "scribbles": scribbles,
    "BSDS500": bsds,
    "CCP": clothes,
    "VOC": voc,
    "COCO": coco,
    "CUB": cub,
    "mask": masks,
    "stored score": scores,
    "refinement document": documents,
    "stored graph": graphs,
    "georeference": georeferences,
}


def one(name: str, content: bytes) -> Seed:
    return {name: content}, name


def _written(name: str, write) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(path)
        return path.read_bytes()


def _saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def _mat(variables: dict[str, object], **options) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables, **options)
    content = file.getvalue()
    # the first 116 bytes of version 5 hold the time of writing
    return content if options.get("format") == "4" else b"MATLAB 5.0 MAT-file".ljust(116) + content[116:]
