"""What a zip archive claims about its members, checked before any of them is unpacked.

In   an open archive (.npz, PyTorch's .pt), a limit
Out  None, or a ValueError that says what cannot be true or is too much
Not  nothing is read but the directory of the archive
"""

import zipfile
from collections import Counter

MAX_BYTES = 4 << 30  # of all members together, unpacked
_MOST_DEFLATED = 1032  # bytes that one byte of deflate can stand for, at most
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_members(archive: zipfile.ZipFile, max_bytes: int = MAX_BYTES) -> None:
    """Refuse members of one name, packed in other ways than deflate, or larger than they can be or may be.

    A reader that takes the first of two members of one name sees another file than one that takes the last.
    """
    members = archive.infolist()
    twice = [name for name, count in Counter(member.filename for member in members).items() if count > 1]
    if twice:
        raise ValueError(f"it holds {twice[0]!r} more than once")
    for member in members:
        if member.compress_type not in _PACKINGS or member.flag_bits & 1:
            raise ValueError(f"{member.filename!r} is packed in a way that is not read (type {member.compress_type})")
        ratio = _MOST_DEFLATED if member.compress_type == zipfile.ZIP_DEFLATED else 1
        if member.file_size > ratio * member.compress_size:
            raise ValueError(
                f"{member.filename!r} claims {member.file_size} bytes, which its {member.compress_size} cannot hold"
            )
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise ValueError(f"it claims {total} bytes unpacked, above the limit max_bytes={max_bytes}")
