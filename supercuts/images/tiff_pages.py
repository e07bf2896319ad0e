"""How the pages of a TIFF follow each other, checked before a reader goes along them.

In   a path to a TIFF or BigTIFF
Out  None, or a ValueError: pages that come round again, or more than any image has
Not  no tags, no pixels
"""

import struct
from pathlib import Path

MAX_PAGES = 50_000


def check_pages(path: Path) -> None:
    """Refuse a chain of pages without an end, along which tifffile would go for ever; one that is cut off may pass.

    What is no TIFF at all passes too: the reader says what is wrong with it.
    """
    with path.open("rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 16:
            return
        is_big = struct.unpack(f"{order}H", start[2:4])[0] == 43
        count_form, offset_form, n_entry = ("Q", "Q", 20) if is_big else ("H", "I", 12)
        (offset,) = struct.unpack_from(f"{order}{offset_form}", start, 8 if is_big else 4)
        size, seen = path.stat().st_size, set[int]()
        while 0 < offset < size:
            if offset in seen or len(seen) == MAX_PAGES:
                raise ValueError(f"its pages come round again or are more than {MAX_PAGES}")
            seen.add(offset)
            file.seek(offset)
            counted = file.read(struct.calcsize(f"{order}{count_form}"))
            if len(counted) < struct.calcsize(f"{order}{count_form}"):
                return
            (count,) = struct.unpack(f"{order}{count_form}", counted)
            if offset + count * n_entry > size:
                return
            file.seek(count * n_entry, 1)
            after = file.read(struct.calcsize(f"{order}{offset_form}"))
            if len(after) < struct.calcsize(f"{order}{offset_form}"):
                return
            (offset,) = struct.unpack(f"{order}{offset_form}", after)
