"""Broken, forged and hostile files for every reader, determined by a seed.

In   seeds.py: valid files of each kind; a seed for the random generator
Out  Cases: the files of one input, which of them was tampered with, and how
Not  reading (readers.py), judging (harness.py)
"""

import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]

_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TOKENS = (
    *("NaN", "Infinity", "-1", "1e999", "99999999999999999999", "1" * 5000, "0", "null", "true", "", "[]", "{}"),
    *('"x"', '"\\ud800"', "[[[]]]", "\u202e", "\x00", "0x1F", "1:2:3", "2001-99-99", "*a", "&a [*a]"),
    *("!!int ''", "!!float x", "!!bool x", "!!timestamp x", "!!set {a}", "? [a]: b"),
)
_PLACES = re.compile(rb"\"[^\"]{0,200}\"|[-+]?[0-9]+\.?[0-9]*|[A-Za-z_]+")


@dataclass(frozen=True)
class Case:
    """One input of a reader: its files by their place in a folder, of which `target` is the one that is broken."""

    kind: str
    name: str
    files: dict[str, bytes]
    target: str


def mutants(kind: str, files: dict[str, bytes], target: str, rng: np.random.Generator, n: int) -> Iterator[Case]:
    """Yield n random changes of one file of a seed, cycling through the kinds of changes."""
    ways = ways_of(target)
    for i in range(n):
        way = ways[i % len(ways)]
        content = way(files[target], rng)
        yield Case(kind, f"{target}, {way.__name__} {i}", {**files, target: content}, target)


def ways_of(target: str) -> tuple[Mutation, ...]:
    """Return the changes that fit a file's format: changes of bytes, and changes with valid checksums."""
    suffix = target.rsplit(".", 1)[-1]
    special: dict[str, tuple[Mutation, ...]] = {
        "npz": (member, member_header, retyped_member, duplicate_member, number),
        "pt": (member, pickled, duplicate_member),
        "pth": (member, pickled, duplicate_member),
        "ckpt": (member, pickled, duplicate_member),
        "png": (chunk, chunk, number),
        "npy": (header, number),
        "safetensors": (json_header, number),
        "tif": (number, number),
        "mat": (number, number),
        **dict.fromkeys(("json", "yaml", "xml", "txt"), (token, token, token, nested)),
    }
    return (truncated, flipped, header, cut_out, doubled, spliced, *special.get(suffix, (number,)))


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    at = rng.integers(changed.size, size=int(rng.integers(1, 9)))
    changed[at] ^= (1 << rng.integers(8, size=at.size)).astype(np.uint8)
    return changed.tobytes()


def header(content: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    at = rng.integers(min(changed.size, 200), size=int(rng.integers(1, 5)))
    changed[at] = rng.integers(256, size=at.size)
    return changed.tobytes()


def cut_out(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = np.sort(rng.integers(len(content), size=2))
    return content[:start] + content[end:]


def doubled(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = np.sort(rng.integers(len(content), size=2))
    return content[:end] + content[start:]


def spliced(content: bytes, rng: np.random.Generator) -> bytes:
    """Put the start of the file before noise, or noise before its end."""
    at = int(rng.integers(len(content)))
    noise = rng.bytes(min(len(content), 4096))
    return content[:at] + noise if rng.random() < 0.5 else noise + content[at:]


def number(content: bytes, rng: np.random.Generator) -> bytes:
    """Write a number that is likely to be a limit over two or four bytes."""
    value = int(rng.choice(_NUMBERS))
    packed = struct.pack(rng.choice(["<I", ">I"]), value) if rng.random() < 0.7 else struct.pack("<H", value & 0xFFFF)
    # half of them within headers
    at = int(rng.integers(max(1, min(len(content), 256 if rng.random() < 0.5 else len(content)) - len(packed))))
    return content[:at] + packed + content[at + len(packed) :]


def token(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace one number, word or string of a text by a value of another kind."""
    actual = list(_PLACES.finditer(content))
    if not actual:
        return content + b"\0"
    place = actual[int(rng.integers(len(actual)))]
    return content[: place.start()] + str(rng.choice(_TOKENS)).encode() + content[place.end() :]


def nested(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace one value of a text by lists in lists, deeper than any stack."""
    actual = list(_PLACES.finditer(content))
    depth = int(rng.choice([50, 5000, 100_000]))
    if not actual:
        return b"[" * depth
    place = actual[int(rng.integers(len(actual)))]
    closing = b"]" * depth if rng.random() < 0.5 else b""
    return content[: place.start()] + b"[" * depth + closing + content[place.end() :]


def member(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one member of a zip archive, with a valid checksum."""
    return _with_member(content, rng, flipped if rng.random() < 0.5 else number)


def member_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the start of one member: the type and shape of an array."""
    return _with_member(content, rng, lambda inner, r: token(inner[:128], r) + inner[128:])


def pickled(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the pickled structure of a PyTorch archive."""
    return _with_member(content, rng, number if rng.random() < 0.3 else flipped, "data.pkl")


def retyped_member(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace one array of an .npz by one of another type, shape or content."""
    return _with_member(content, rng, lambda inner, r: npy(_retyped(inner, r)))


def duplicate_member(content: bytes, rng: np.random.Generator) -> bytes:
    """Add a second member with the name of an existing one."""
    members = read_zip(content)
    names = list(members)
    if not names:
        return content + content[:100]
    name = names[int(rng.integers(len(names)))]
    other = members[names[int(rng.integers(len(names)))]]
    return write_zip([*members.items(), (name, other)])


def chunk(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one chunk of a PNG, with a valid checksum."""
    parts = png_chunks(content)
    if not parts:
        return content[::-1]
    i = int(rng.integers(len(parts)))
    name, data = parts[i]
    action = rng.integers(4)
    if action == 0 and data:
        parts[i] = (name, number(data + b"\0" * 4, rng)[: len(data)])
    elif action == 1 and data:
        parts[i] = (name, flipped(data, rng))
    elif action == 2:
        parts.insert(i, parts[int(rng.integers(len(parts)))])
    else:
        parts[i] = (rng.choice([b"PLTE", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"iTXt", b"zTXt"]), data)
    return png(parts)


def json_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the JSON header of a safetensors file, with a valid length."""
    if len(content) < 8:
        return content
    length = struct.unpack("<Q", content[:8])[0]
    text = (nested if rng.random() < 0.2 else token)(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _with_member(content: bytes, rng: np.random.Generator, change: Mutation, ending: str = "") -> bytes:
    members = read_zip(content)
    names = [name for name in members if name.endswith(ending) and members[name]]
    if not names:
        return content[:-1]
    name = names[int(rng.integers(len(names)))]
    members[name] = change(members[name], rng)
    return write_zip(members.items())


def _retyped(inner: bytes, rng: np.random.Generator) -> np.ndarray:
    array = np.load(io.BytesIO(inner), allow_pickle=False)
    choice = rng.integers(8)
    if choice == 0 and array.dtype.kind in "if":
        return array.astype(rng.choice(["i1", "u2", "i8", "f8", "c8", "U5", ">i4", ">f4"]))
    if choice == 1:
        return array[..., None]
    if choice == 2:
        return array.ravel()[: int(rng.integers(array.size + 1))]
    if choice == 3 and array.dtype.kind == "f" and array.size:
        return np.full_like(array, rng.choice([np.nan, np.inf, -1, 1e30]))
    if array.dtype.kind in "iu" and array.size:
        changed = array.copy()
        value = rng.choice([-1, 0, 2**31 - 1, -(2**31), 5, 1000])
        changed.reshape(-1)[int(rng.integers(array.size))] = value if array.dtype.kind == "i" else abs(int(value)) % 256
        return changed
    if array.dtype.kind == "f" and array.size:
        changed = array.copy()
        changed.reshape(-1)[int(rng.integers(array.size))] = rng.choice([np.nan, np.inf, -np.inf, -1, 2, 0.9])
        return changed
    return np.zeros(0, array.dtype)


def read_zip(content: bytes) -> dict[str, bytes]:
    """Return the members of an archive; none for other files (PyTorch's older format)."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(members: object, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, content in members:
            info = zipfile.ZipInfo(name)
            archive.writestr(info, content, compress_type=compression)
    return file.getvalue()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=allow_pickle)
    return file.getvalue()


def npy_header(shape: tuple[int, ...], descr: str = "<i4") -> bytes:
    """Return the header of an array without its data."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    parts, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    written = [
        struct.pack(">I", len(data)) + bytes(name) + data + struct.pack(">I", zlib.crc32(bytes(name) + data))
        for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def safetensors(metadata: dict[str, str], tensors: dict[str, object], body: bytes = b"") -> bytes:
    """Return a file with any header, valid or not."""
    text = json.dumps({"__metadata__": metadata, **tensors}).encode()
    return struct.pack("<Q", len(text)) + text + body
