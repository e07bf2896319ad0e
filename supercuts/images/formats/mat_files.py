"""Read MATLAB files of version 7 and older; damaged ones raise FileFormatError.

scipy does not check the number types that a file declares, so a damaged file crashes the process. Therefore this module
first checks the type and length of every element of the file.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supercuts.core.errors import FileFormatError
from supercuts.images.formats.stored import MAX_PIXELS

MAX_BYTES = 8 * MAX_PIXELS  # unpacked size: one 8-byte number per pixel of the largest image
_MAX_DEPTH = 16  # nesting of cells
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEADER = 128
_COMPRESSED, _MATRIX, _INT8, _INT32, _UINT32 = 15, 14, 1, 5, 6
_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)  # types of elements that hold numbers
_KNOWN = (*_NUMBERS, _MATRIX, 16, 17, 18)  # the last three hold text
_SPARSE, _NUMERIC = 5, range(6, 16)  # classes of matrices
_COMPLEX = 0x800  # flag of a matrix
_REMEDY = "Expected a valid MATLAB file of version 7 or older: write it again with save(file, 'name', '-v7')."


def read_mat(path: Path, **options: Any) -> dict[str, Any]:
    """Return the variables of a file; raise FileFormatError if it cannot be read.

    options  options of scipy.io.loadmat
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be read ({error.strerror}). Expected a readable file: check its path and permissions."
        ) from error
    if content.startswith((b"MATLAB 7.3", _HDF5)) or content[512:520] == _HDF5:
        raise FileFormatError(
            f"{path} is a MATLAB v7.3 (HDF5) file. Expected version 7 or older: write it again with "
            "save(file, 'name', '-v7')."
        )
    import scipy.io  # changes os.environ and the filters of warnings

    try:
        unpacked: Any = io.BytesIO(_unpack(content))
        variables: dict[str, Any] = scipy.io.loadmat(unpacked, **options)
    # scipy raises a different type for each way in which a file can be broken
    except Exception as error:
        message = f"{type(error).__name__}: {error}"[:200]
        raise FileFormatError(f"{path} is damaged or not .mat ({message}). {_REMEDY}") from error
    return variables


def _unpack(content: bytes) -> bytes:
    """Return a file of version 5 to 7 checked and decompressed; return one of version 4 unchanged."""
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
        return content  # version 4 has no such mark, and scipy checks its sizes
    order = "<" if content[126:128] == b"IM" else ">"
    parts, n_bytes = [content[:_HEADER]], _HEADER
    for kind, start, end, after in _elements(content, _HEADER, len(content), order):
        part = content[start - 8 : after]
        if kind == _COMPRESSED:
            part = _inflate(content[start:end], MAX_BYTES - n_bytes)
        for inner, first, last, _ in _elements(part, 0, len(part), order):
            if inner != _MATRIX:
                raise ValueError(f"an element of type {inner} where a variable should be")
            _check_matrix(part, first, last, order, 0)
        parts.append(part)
        n_bytes += len(part)
    return b"".join(parts)


def _inflate(packed: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(packed, max(limit, 1))
    if stream.unconsumed_tail or not stream.eof:
        raise ValueError(f"a variable is cut off, or unpacks to more than the limit of {MAX_BYTES} bytes")
    return content


def _elements(content: bytes, start: int, end: int, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield type, start and end of data, and start of the next element, for each element in content[start:end]."""
    while start < end:
        if end - start < 8:
            raise ValueError("the file ends within an element")
        kind, n_bytes = struct.unpack_from(f"{order}2I", content, start)
        if kind >> 16:  # a small element holds its data in its tag
            kind, n_bytes, first, after = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            first = start + 8
            after = first + n_bytes + (0 if kind == _COMPRESSED else -n_bytes % 8)
        if first + n_bytes > end or (first == start + 4 and n_bytes > 4):
            raise ValueError(f"an element claims {n_bytes} bytes, {end - first} are left")
        yield kind, first, first + n_bytes, min(after, end)
        start = after


def _check_matrix(content: bytes, start: int, end: int, order: str, depth: int) -> None:
    """Raise ValueError if the elements of a matrix do not fit its class; an empty matrix has none."""
    if start == end:
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"cells within cells, more than {_MAX_DEPTH} deep")
    elements = list(_elements(content, start, end, order))
    kinds = [kind for kind, *_ in elements]
    if unknown := set(kinds) - set(_KNOWN):
        raise ValueError(f"elements of unknown type {min(unknown)}")
    if kinds[0] != _UINT32 or elements[0][2] - elements[0][1] != 8:
        raise ValueError("a matrix without flags")
    (flags,) = struct.unpack_from(f"{order}I", content, elements[0][1])
    matrix_class = flags & 0xFF
    if matrix_class in (_SPARSE, *_NUMERIC):
        n_required = (3 if matrix_class == _SPARSE else 1) + bool(flags & _COMPLEX)
        values = kinds[3:]
        if kinds[1:3] != [_INT32, _INT8] or len(values) < n_required or not set(values) <= set(_NUMBERS):
            raise ValueError(f"a matrix of numbers (class {matrix_class}) with elements of types {kinds}")
    for kind, first, last, _ in elements:
        if kind == _MATRIX:
            _check_matrix(content, first, last, order, depth + 1)
