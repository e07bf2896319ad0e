"""Keep freed memory in the process, for the next array.

The maps of an image are freed and allocated anew some dozens of times. By default glibc hands each of them back to the
system, which then has to clear the pages again: about a tenth of the time of a small image.
"""

import ctypes
import os
import sys
from typing import Any

KEPT_BYTES = 256 * 2**20  # at most so much stays with the process once it is freed
_LARGEST_ON_HEAP = 32 * 2**20  # larger arrays are mapped and go back at once; the largest value glibc accepts
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
# what people set who know better
_SETTINGS = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)


def keep_freed_memory() -> bool:
    """Let up to KEPT_BYTES of freed memory stay with the process; return whether that was done.

    Nothing is done where the C library is not glibc, or where the environment already says how it should allocate.
    """
    glibc = _glibc()
    if glibc is None or any(name in os.environ for name in _SETTINGS):
        return False
    # both: setting either one stops glibc from adapting the other
    return bool(glibc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP)) and bool(
        glibc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    )


def give_freed_memory_back() -> None:
    """Let what is free go back to the system, before work that needs all there is."""
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library if it is glibc, else None."""
    try:
        is_glibc = sys.platform.startswith("linux") and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
        return ctypes.CDLL(None) if is_glibc else None
    except (ValueError, OSError):  # another C library
        return None
