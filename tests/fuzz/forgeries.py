"""Files that are invalid on purpose: false sizes, invalid trees, code in place of values.

In   seeds.py
Out  (kind, name, files, target) of each; code among them would create a file called MARKER when run
Not  random changes (corpus.py)
"""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import torch
from corpus import npy, npy_header, png, png_chunks, read_zip, safetensors, write_zip
from PIL import Image
from seeds import LABELS, SEEDS, _mat, _saved, _tiff

MARKER = "CODE-WAS-RUN"
Forged = tuple[str, str, dict[str, bytes], str]


class Payload:
    """Creates the marker when it is unpickled."""

    def __reduce__(self):
        return open, (MARKER, "w")


def hierarchies() -> Iterator[Forged]:
    members = read_zip(SEEDS["hierarchy"]()[0][0]["a.npz"])

    def with_(name: str, changes: dict[str, object], compression: int = zipfile.ZIP_STORED) -> Forged:
        raw = {k: v if isinstance(v, bytes) else npy(v, allow_pickle=True) for k, v in changes.items()}
        return "hierarchy", name, {"a.npz": write_zip({**members, **raw}.items(), compression)}, "a.npz"

    n = 7
    for name, parents in {
        "a cycle": [4, 4, 5, 5, 5, 4, 6],
        "a cycle of two": [4, 4, 5, 5, 5, 4, 6],
        "negative parents": [-1, 4, 5, 5, 6, 6, 6],
        "all roots": [0, 1, 2, 3, 4, 5, 6],
        "two roots": [4, 4, 5, 5, 4, 6, 6],
        "parents that are leaves": [1, 2, 3, 4, 5, 6, 6],
        "one child": [4, 5, 5, 5, 6, 6, 6],
        "parents beyond the tree": [4, 4, 5, 5, 2**31 - 1, 6, 6],
        "the root below": [4, 4, 5, 5, 6, 6, 0],
    }.items():
        yield with_(name, {"parents.npy": np.array(parents, np.int32)})
    for name, altitudes in {
        "altitudes that decrease": [0, 0, 0, 0, 0.9, 0.5, 0.75],
        "altitudes of NaN": [0, 0, 0, 0, np.nan, 0.5, 0.75],
        "infinite altitudes": [0, 0, 0, 0, 0.2, 0.5, np.inf],
        "negative altitudes": [0, 0, 0, 0, -0.5, 0.5, 0.75],
        "raised leaves": [0.1, 0, 0, 0, 0.25, 0.5, 0.75],
    }.items():
        yield with_(name, {"altitudes.npy": np.array(altitudes, np.float32)})
    yield with_("no nodes", {"parents.npy": np.zeros(0, np.int32), "altitudes.npy": np.zeros(0, np.float32)})
    yield with_("no pixels", {"labels.npy": np.zeros((0, 0), np.int32)})
    yield with_("labels of a leaf that is none", {"labels.npy": LABELS + 1})
    yield with_("negative labels", {"labels.npy": LABELS - 1})
    yield with_("a leaf without pixels", {"labels.npy": np.minimum(LABELS, 2)})
    yield with_("a level name with a script", {"level_names.npy": np.array(["</script>", "object", "part"])})
    yield with_("levels of NaN", {"level_altitudes.npy": np.full(3, np.nan)})
    yield with_("more levels than names", {"level_altitudes.npy": np.zeros(100)})
    yield with_("embeddings of NaN", {"embeddings.npy": np.full((4, 3), np.nan, np.float32)})
    yield with_("pickled labels", {"labels.npy": np.array([[Payload()]], object)})
    yield with_("pickled names", {"level_names.npy": np.array([Payload()] * 3, object)})
    yield with_("a pickle as version", {"format_version.npy": pickle.dumps(Payload())})
    yield with_("a foreign member", {"../../../tmp/x.npy": b"x"})
    huge = {"labels.npy": npy_header((2**31, 2**31)), "parents.npy": npy_header((2**40,))}
    for name, header in huge.items():
        yield with_(f"{name} claims more than there is", {name: header + b"\0" * 100})
    yield with_("a shape of 10,000 axes", {"labels.npy": npy_header((1,) * 3000)})
    yield with_("negative shape", {"labels.npy": npy_header((-1, 8))})
    yield with_("a header nested deeply", {"labels.npy": _header_of("(" * 9000)})
    yield with_("a header of an expression", {"labels.npy": _header_of(f"open('{MARKER}', 'w')")})
    yield with_("a header that ends early", {"labels.npy": _header_of("{'descr': '<i4', (")})
    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield with_(f"packed as {packing}", {}, packing)
    whole = write_zip(members.items(), zipfile.ZIP_DEFLATED)
    yield "hierarchy", "a directory that claims 3 GB", {"a.npz": _claiming(whole, 3 << 30)}, "a.npz"
    zeros = np.zeros((4000, 4000), np.int32)
    one = {"labels.npy": zeros, "parents.npy": np.zeros(1, np.int32), "altitudes.npy": np.zeros(1, np.float32)}
    small = {"embeddings.npy": np.zeros((1, 0), np.float32), "image.npy": np.zeros((*zeros.shape, 3), np.uint8)}
    yield with_("112 MB of zeros in 112 kB, which is allowed", one | small, zipfile.ZIP_DEFLATED)
    yield with_("64 MB of zeros that are no tree", {"labels.npy": zeros}, zipfile.ZIP_DEFLATED)
    assert n == len(np.load(io.BytesIO(members["parents.npy"])))


def pictures() -> Iterator[Forged]:
    parts = png_chunks(SEEDS["picture"]()[0][0]["rgb.png"])
    for width, height in ((0, 0), (2**31 - 1, 2**31 - 1), (30_000, 30_000), (12_000, 12_000), (1, 2**31 - 1)):
        ihdr = struct.pack(">II", width, height) + parts[0][1][8:]
        bomb = png([(b"IHDR", ihdr), *parts[1:]])
        for kind in ("picture", "bands", "scribbles", "mask"):
            yield kind, f"a PNG that claims {width} x {height}", {"a.png": bomb}, "a.png"
    zeros = zlib.compress(bytes(50_000_000), 9)
    text = png([parts[0], (b"zTXt", b"a\0\0" + zeros), (b"iCCP", b"a\0\0" + zeros), *parts[1:]])
    yield "picture", "a PNG with 50 MB of text in 50 kB", {"a.png": text}, "a.png"
    yield "bands", "a PNG with 50 MB of text in 50 kB", {"a.png": text}, "a.png"
    white = _saved(Image.new("L", (5000, 5000), 255), "PNG")
    yield "picture", "25 megapixels in 30 kB, which is allowed", {"a.png": white}, "a.png"
    for name, content in {
        "a.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + b"\0" * 6 + b"!\xf9\x04" + b"\0" * 50,
        "a.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 2**31 - 1, -(2**31), 1, 24, *(0,) * 6),
        "a.webp": b"RIFF\xff\xff\xff\x7fWEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
        "a.jpg": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x22\0\x02\x11\x01\x03\x11\x01",
        "pickle.npy": npy(np.array([Payload()], object), allow_pickle=True),
        "huge.npy": npy_header((10**6, 10**6, 3), "|u1"),
        "empty.npy": npy_header((10**9, 10**9), "|V0"),
        "header.npy": b"\x93NUMPY\x03\0" + struct.pack("<I", 2**32 - 1) + b"{",
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
        "nothing.png": b"",
    }.items():
        for kind in ("picture", "bands"):
            yield kind, f"{name} of no picture", {name: content}, name
    yield from _tiffs()


def _tiffs() -> Iterator[Forged]:
    """Yield TIFFs whose tags do not match their bytes; tag numbers are those of the format."""
    for deep in (np.uint8, np.uint16):
        plain = _tiff(np.zeros((8, 24), deep))
        for tag, value in (
            *((256, v) for v in (0, 2**31, 2**32 - 1)),  # width
            *((257, v) for v in (0, 2**31, 100_000)),  # height
            *((258, v) for v in (0, 64, 65535)),  # bits
            *((259, v) for v in (5, 7, 8, 34712, 50000, 65000)),  # compression
            *((277, v) for v in (0, 60_000)),  # samples
            *((278, v) for v in (0, 2**32 - 1)),  # rows a strip
            *((279, v) for v in (0, 2**32 - 1)),  # bytes of a strip
            *((273, v) for v in (0, 2**32 - 1)),  # offset of the strip
        ):
            content = _with_tag(plain, tag, value)
            for kind in ("picture", "bands", "scene", "label map"):
                yield kind, f"a TIFF of {deep.__name__} whose tag {tag} is {value}", {"a.tif": content}, "a.tif"
    looped = bytearray(_tiff(np.zeros((8, 24), np.uint16)))
    start = struct.unpack_from("<I", looped, 4)[0]
    count = struct.unpack_from("<H", looped, start)[0]
    empty = len(looped) + len(looped) % 2
    for name, after in (("the next page is the first", start), ("the next page is the next page", empty)):
        struct.pack_into("<I", looped, start + 2 + 12 * count, after)
        content = bytes(looped).ljust(empty, b"\0") + struct.pack("<HI", 0, empty)
        for kind in ("picture", "bands", "scene", "label map"):
            yield kind, f"a TIFF of which {name}", {"a.tif": content}, "a.tif"


def checkpoints() -> Iterator[Forged]:
    file = io.BytesIO()
    torch.save({"a": Payload()}, file)
    legacy = io.BytesIO()
    torch.save({"a": Payload()}, legacy, _use_new_zipfile_serialization=False)
    members = read_zip(SEEDS["checkpoint"]()[0][0]["plain.pth"])
    data = next(name for name in members if name.endswith("data/0"))
    wide = io.BytesIO()
    torch.save({"backbone.x": torch.zeros(1).expand(2**40)}, wide)  # a claim that needs no memory: stride 0
    forged = {
        "torch code.pt": file.getvalue(),
        "old torch code.ckpt": legacy.getvalue(),
        "pickle.pth": pickle.dumps({"a": Payload()}),
        "bomb.pth": write_zip({**members, data: bytes(50_000_000)}.items(), zipfile.ZIP_DEFLATED),
        "wide.pth": wide.getvalue(),
        "twice.pth": write_zip([*members.items(), next(iter(members.items()))]),
    }
    for name, content in forged.items():
        yield "checkpoint", name, {name: content}, name
    for name in ("torch code.pt", "old torch code.ckpt", "bomb.pth"):
        files = SEEDS["stored graph"]()[0][0] | {"graphs/a.pt": forged[name]}
        yield "stored graph", name, files, "graphs/a.pt"


def networks() -> Iterator[Forged]:
    for kind, name in (
        ("network", "model.safetensors"),
        ("refiner", "net.safetensors"),
        ("learned network", "net.safetensors"),
    ):
        whole = SEEDS[kind]()[0][0][name]
        length = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8 : 8 + length])
        metadata, body = header.pop("__metadata__"), whole[8 + length :]
        config = json.loads(metadata["config"])
        for change in _config_changes(kind):
            changed = {**metadata, "config": json.dumps({**config, **change})}
            yield kind, f"a config of {str(change)[:60]}", {name: safetensors(changed, header, body)}, name
        for key in metadata:
            for value in ("", "[" * 100_000, "null", '{"scene": NaN}', "\0", f"open('{MARKER}', 'w')"):
                changed = {**metadata, key: value}
                yield kind, f"{key} of {value[:20]!r}", {name: safetensors(changed, header, body)}, name
        for claim in ([0, 2**62], [2**63, 2**64 - 1]):
            first = next(iter(header))
            changed = {**header, first: {**header[first], "data_offsets": claim}}
            yield kind, f"a tensor at {claim}", {name: safetensors(metadata, changed, body)}, name
        yield kind, "a header longer than the file", {name: struct.pack("<Q", 2**63) + whole[8:]}, name
        yield kind, "a pickle", {name: pickle.dumps(Payload())}, name


def _config_changes(kind: str) -> list[dict[str, object]]:
    wide = 10**9
    if kind == "network":
        return [
            *({"head_channels": [n] * 4} for n in (100_000, wide, 10**30)),
            *({name: wide} for name in ("channels", "embedding_channels", "context_channels", "region_channels")),
            {"backbone": "timm:hf-hub:someone/something"},
            {"backbone": "timm:local-dir:/tmp"},
            {"backbone": "../../x"},
            {"backbone": "timm:vit_giant_patch14_dinov2.lvd142m"},
            {"color_scale": 1e308},
            {"head": "original"},
        ]
    if kind == "refiner":
        return [{"n_features": 100_000}, {"n_features": wide}, {"n_classes": wide}, {"n_convolutions": wide}]
    return [{"classes": wide}, {"classes": 50_000, "widths": [50_000, 50_000]}, {"widths": [2] * 40}]


def texts() -> Iterator[Forged]:
    laughs = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10) if i else 'x'}]" for i in range(12))
    for name, text in {
        "code": f"out: !!python/object/apply:builtins.open ['{MARKER}', 'w']",
        "a module": "out: !!python/module:os",
        "a name": "out: !!python/name:os.system",
        "an object": "out: !!python/object/new:os.system ['touch x']",
        "aliases of aliases": laughs,
        "an alias of itself": "data: &a {root: *a}",
        "a list of itself": "out: &a [*a]",
        "a key of itself": "&a {*a : 1}",
        "merged with itself": "data: &a {<<: *a}",
        "aliases that are merged": "\n".join(
            f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" if i else "a0: &a0 {x: 1}" for i in range(12)
        ),
        "two megabytes": "out: " + "x" * (2 << 20),
        "many documents": "---\nout: a\n" * 10,
        "a number of many digits": f"max_steps: {'9' * 5000}",
        "a base 60 number": "max_steps: " + ":".join(["59"] * 10_000),
        "a binary": "out: !!binary @@@",
        "UTF-16": "out: a".encode("utf-16").decode("latin-1"),
        "a NUL": "out: \0",
    }.items():
        yield "config", name, {"a.yaml": text.encode("latin-1")}, "a.yaml"
    entities = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10 if i else 'x' * 10}'>" for i in range(12))
    box = (
        "<object><name>cat</name><bndbox><xmin>{0}</xmin><ymin>{0}</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    )
    for name, text in {
        "entities of entities": f"<!DOCTYPE a [{entities}]><annotation>&e11;</annotation>",
        "an entity of a file": "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><annotation>&e;</annotation>",
        "a DTD elsewhere": "<!DOCTYPE a SYSTEM 'http://127.0.0.1:9/x.dtd'><annotation/>",
        "an unknown encoding": "<?xml version='1.0' encoding='klingon'?><annotation/>",
        "100,000 elements deep": "<a>" * 100_000,
        "100,000 closed elements deep": "<a>" * 100_000 + "</a>" * 100_000,
        **{
            f"a corner of {v}": f"<annotation>{box.format(v)}</annotation>"
            for v in ("nan", "inf", "1e400", "-1e30", "1_0")
        },
    }.items():
        yield "VOC", name, {"1.xml": text.encode()}, "1.xml"
    yield from _coco()


def _coco() -> Iterator[Forged]:
    files = SEEDS["COCO"]()[0][0]
    document = json.loads(files["annotations.json"])
    image, part = document["images"][0], document["annotations"][0]
    entries: dict[str, dict[str, list[object]]] = {
        "an image of 10^18 pixels": {"images": [{**image, "height": 10**9, "width": 10**9}]},
        "an image of half a pixel": {"images": [{**image, "height": 0.5}]},
        "a negative image": {"images": [{**image, "height": -8, "width": -24}]},
        "names above the folder": {"images": [{**image, "file_name": "../../../etc/passwd"}]},
        "an absolute name": {"images": [{**image, "file_name": "/etc/passwd"}]},
        "a name of NUL": {"images": [{**image, "file_name": "a\0b"}]},
        "a name that is none": {"images": [{**image, "file_name": ["a"]}]},
        "numbers for entries": {"images": [1, 2, 3]},
        "ids that are lists": {"annotations": [{**part, "image_id": [1]}]},
        "a name with a script": {
            "categories": [{"id": 1, "name": "</script><script>alert(1)"}, {"id": 2, "name": "x"}]
        },
    }
    for name, shape in {
        "runs without an end": {"size": [8, 24], "counts": "o" * 300_000},
        "runs of 10^18": {"size": [8, 24], "counts": [10**18, 5]},
        "runs that overflow": {"size": [8, 24], "counts": [2**63 - 1, 2**63 - 1, 194]},
        "runs of other than digits": {"size": [8, 24], "counts": "\u65e5\u672c"},
        "a polygon of infinities": [[float("inf")] * 8],
        "a polygon of NaN": [[float("nan")] * 8],
        "a polygon of 10^300": [[0, 0, 1e300, 0, 1e300, 1e300]],
        "a polygon far away": [[-1e9, -1e9, 1e9, -1e9, 1e9, 1e9]],
        "polygons in polygons": [[[[[0, 0, 1, 1]]]]],
    }.items():
        entries[name] = {"annotations": [{**part, "segmentation": shape}]}
    for name, change in entries.items():
        content = json.dumps({**document, **change}).encode()
        yield "COCO", name, {**files, "annotations.json": content}, "annotations.json"
    yield "COCO", "lists in lists", {**files, "annotations.json": b"[" * 1_000_000}, "annotations.json"


def matrices() -> Iterator[Forged]:
    bomb = _mat({"groundTruth": np.zeros((1500, 2000))}, do_compression=True)
    sparse = __import__("scipy.sparse").sparse.csc_matrix(np.eye(8))
    for kind in ("BSDS500", "label map", "result", "CCP"):
        yield kind, "24 MB of zeros in 24 kB", {"a.mat": bomb}, "a.mat"
        yield kind, "a sparse matrix", {"a.mat": _mat({"labels": sparse})}, "a.mat"
        yield kind, "no variable", {"a.mat": _mat({})}, "a.mat"
        yield kind, "no element", {"a.mat": _mat({})[:128]}, "a.mat"
        for tag in (0, 8, 10, 19, 20, 255, 65535):  # scipy would look this up without a check
            content = bytearray(_mat({"labels": LABELS.astype(np.uint16)}))
            at = content.rindex(struct.pack("<II", 4, LABELS.size * 2))
            struct.pack_into("<I", content, at, tag)
            yield kind, f"numbers of type {tag}", {"a.mat": bytes(content)}, "a.mat"
    pickled = npy(np.array([Payload()], object), allow_pickle=True)
    for kind in ("label map", "result"):
        yield kind, "a pickle in .npy", {"a.npy": pickled}, "a.npy"
        yield kind, "a pickle in .npz", {"a.npz": write_zip([("labels.npy", pickled)])}, "a.npz"
        claimed = write_zip([("labels.npy", npy_header((2**20, 2**20)) + b"\0" * 64)])
        yield kind, "an .npz that claims 4 TB", {"a.npz": claimed}, "a.npz"
        packed = write_zip([("labels.npy", npy(LABELS))], zipfile.ZIP_DEFLATED)
        yield kind, "a directory that claims 3 GB", {"a.npz": _claiming(packed, 3 << 30)}, "a.npz"


FORGERIES = (hierarchies, pictures, checkpoints, networks, texts, matrices)


def _header_of(text: str) -> bytes:
    padded = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(padded)) + padded


def _claiming(archive: bytes, n_bytes: int) -> bytes:
    """Return an archive whose directory gives its first member that size unpacked."""
    changed = bytearray(archive)
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, n_bytes)
    return bytes(changed)


def _with_tag(content: bytes, tag: int, value: int) -> bytes:
    """Return a little-endian TIFF with another value of one tag of its first page, if it has it."""
    changed = bytearray(content)
    start = struct.unpack_from("<I", changed, 4)[0]
    for i in range(struct.unpack_from("<H", changed, start)[0]):
        at = start + 2 + 12 * i
        actual, kind = struct.unpack_from("<HH", changed, at)
        if actual == tag:
            struct.pack_into(
                "<H" if kind == 3 else "<I", changed, at + 8, value & (0xFFFF if kind == 3 else 0xFFFFFFFF)
            )
    return bytes(changed)
