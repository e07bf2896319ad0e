import io
import struct
import zipfile

import pytest

from supercuts.core.archives import check_members


def archive(*members, packing=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as target:
        for name, content in members:
            target.writestr(name, content)
    return file.getvalue()


def check(content: bytes, **limits) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        check_members(opened, **limits)


def test_usual_archives_pass():
    check(archive(("a", b"x" * 1000), ("b", b"")))
    check(archive(("a", bytes(50_000_000))))  # as much as deflate packs
    check(archive(("a", b"12"), packing=zipfile.ZIP_STORED), max_bytes=2)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused():
    with pytest.raises(ValueError, match="it holds 'a' more than once"):
        check(archive(("a", b"1"), ("a", b"2")))


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(packing):
    with pytest.raises(ValueError, match="'a' is packed in a way that is not read"):
        check(archive(("a", b"1" * 99), packing=packing))


@pytest.mark.parametrize(("packing", "claim"), [(zipfile.ZIP_STORED, 1001), (zipfile.ZIP_DEFLATED, 3 << 30)])
def test_a_claim_that_the_member_cannot_hold_is_refused(packing, claim):
    content = bytearray(archive(("a", b"x" * 1000), packing=packing))
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, claim)
    with pytest.raises(ValueError, match=f"'a' claims {claim} bytes, which its .* cannot hold"):
        check(bytes(content))


def test_more_than_the_limit_is_refused():
    content = archive(("a", bytes(600)), ("b", bytes(600)))
    check(content, max_bytes=1200)
    with pytest.raises(ValueError, match="claims 1200 bytes unpacked, above the limit max_bytes=1199"):
        check(content, max_bytes=1199)
