"""The block table check, on TIFFs made of a few bytes."""

import struct

import pytest

from geoetl.gdal.layout import check_tiff_layout


def tiff(offsets, counts, *, order="<", big=False, size=1000, next_ifd=0, sub=None) -> bytes:
    """A TIFF whose only tags are its block table; ``size`` bytes in all."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "L", 8)
    word, kind = ("Q", 16) if big else ("L", 4)
    tags = [(324, offsets), (325, counts)] + ([(330, sub)] if sub else [])
    entry_size, count_word = (20, "Q") if big else (12, "H")
    ifd_size = struct.calcsize(order + count_word) + entry_size * len(tags) + struct.calcsize(order + word)
    tables_at = len(head) + ifd_size
    ifd, tables = struct.pack(order + count_word, len(tags)), b""
    for tag, numbers in tags:
        stored = struct.pack(order + word * len(numbers), *numbers)
        at = struct.pack(order + word, tables_at + len(tables)) if len(numbers) > 1 else stored
        ifd += struct.pack(order + "HH" + word, tag, kind, len(numbers)) + at
        tables += stored if len(numbers) > 1 else b""
    ifd += struct.pack(order + word, next_ifd)
    return (head + ifd + tables).ljust(size, b"\0")


def check(content: bytes, size: int | None = None):
    return check_tiff_layout(lambda offset, length: content[offset : offset + length], size or len(content))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_blocks_that_end_with_the_file_fit(order, big):
    assert check(tiff([500, 900], [400, 100], order=order, big=big)) is None


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_one_byte_too_few_is_found_and_told(order, big):
    problem = check(tiff([500, 900], [400, 101], order=order, big=big))
    assert problem is not None
    assert problem.found == (
        "1 of 2 blocks of the image lie beyond the end: block 1 needs bytes 900 to 1,001, the file has 1,000"
    )


def test_sparse_blocks_fit():
    assert check(tiff([0, 500, 0], [0, 500, 0])) is None


def test_a_sum_beyond_64_bits_does_not_wrap_around():
    assert check(tiff([2**64 - 10, 500], [20, 10], big=True)) is not None


def test_later_images_are_checked_too():
    first = tiff([500, 600], [100, 100], next_ifd=300)
    # Of one block, so that its table is inside the directory and can be moved with it.
    second = tiff([700], [301])[8:46]
    problem = check(first[:300] + second + first[338:])
    assert problem is not None
    assert problem.found.startswith("1 of 1 blocks of image 1 lie beyond the end")


def test_a_loop_ends():
    problem = check(tiff([500, 600], [100, 100], next_ifd=8))
    assert problem is not None
    assert "loop" in problem.found


def test_a_table_too_long_for_the_file_is_found_before_it_is_read():
    content = bytearray(tiff([500, 600], [100, 100]))
    content[14:18] = struct.pack("<L", 2**31)
    problem = check(bytes(content))
    assert problem is not None
    assert "needs bytes" in problem.found


def test_a_hundred_thousand_blocks_take_few_reads():
    count = 100_000
    offsets = list(range(2_000_000, 2_000_000 + count * 10, 10))
    content = tiff(offsets, [10] * count, size=2_000_000 + count * 10)
    reads = []

    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return content[offset : offset + length]

    assert check_tiff_layout(read, len(content)) is None
    assert len(reads) <= 4
