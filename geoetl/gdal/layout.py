"""Does a TIFF hold every block its own tables promise?

GDAL finds a missing block when it decodes it; a truncated upload of 30 GB should be refused from its header. The tables
are read directly (TIFF 6.0 section 2, BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html): all IFDs, so
overviews and masks too, a few range requests, about 10 ms for 100,000 blocks.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

#: Reads ``length`` bytes at ``offset``; fewer at the end of the file.
type ReadRange = Callable[[int, int], bytes]

_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 324, 325
_SUB_IFDS = 330
#: TIFF field type -> numpy code (rationals as the 8 bytes they take); an unknown type is skipped, as readers must.
_TYPES = {
    1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "u8", 11: "f4", 12: "f8",
    13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
#: More images than this in one file is an attack or an accident.
_MAX_IFDS = 4096
#: 8 million blocks. A larger table would cost a checker its memory, and no reader would like the file.
_MAX_TABLE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LayoutProblem:
    """The first thing in a TIFF's tables that its bytes cannot hold."""

    found: str
    """For the message: what is where, and where the file ends."""


@dataclass(frozen=True, slots=True)
class _Field:
    kind: str
    count: int
    at: int
    """Offset of the values in the file."""


class _Broken(Exception):
    """Ends the walk with the problem found."""


def check_tiff_layout(read: ReadRange, size_bytes: int) -> LayoutProblem | None:
    """The first block, or table, that lies beyond the end of a TIFF of ``size_bytes``; None where all fits.

    Sparse blocks (offset and size 0) hold no bytes and always fit.
    """
    try:
        _Walker(read, size_bytes).walk()
    except _Broken as broken:
        return LayoutProblem(str(broken))
    return None


class _Walker:
    """Follows the chain of IFDs and their SubIFDs."""

    def __init__(self, read: ReadRange, size_bytes: int) -> None:
        self._size = size_bytes
        self._read_range = _Buffered(read)
        head = self._read(0, 8, "the TIFF header")
        self._order = "<" if head[:2] == b"II" else ">"
        self._is_big = struct.unpack(self._order + "H", head[2:4])[0] == 43
        if self._is_big:
            head = self._read(0, 16, "the BigTIFF header")
        word = struct.unpack(self._order + ("Q" if self._is_big else "I"), head[8:16] if self._is_big else head[4:8])
        self._first_ifd: int = word[0]

    def walk(self) -> None:
        pending = [self._first_ifd]
        seen: set[int] = set()
        while pending:
            offset = pending.pop()
            if offset == 0:
                continue
            if offset in seen or len(seen) >= _MAX_IFDS:
                raise _Broken(f"its image directories form a loop or are more than {_MAX_IFDS}")
            fields, following = self._ifd(offset, image=len(seen))
            self._check_blocks(fields, image=len(seen))
            seen.add(offset)
            pending.append(following)
            if (sub := fields.get(_SUB_IFDS)) is not None:
                pending.extend(int(value) for value in self._values(sub, "the SubIFDs"))

    def _ifd(self, offset: int, *, image: int) -> tuple[dict[int, _Field], int]:
        what = f"the directory of image {image}"
        count_size, entry_size, next_size = (8, 20, 8) if self._is_big else (2, 12, 4)
        count = int.from_bytes(self._read(offset, count_size, what), self._byteorder)
        if count > 65535:
            raise _Broken(f"{what} claims {count:,} entries")
        raw = self._read(offset + count_size, count * entry_size + next_size, what)
        fields: dict[int, _Field] = {}
        for index in range(count):
            at = index * entry_size
            tag, kind = struct.unpack_from(self._order + "HH", raw, at)
            (values,) = struct.unpack_from(self._order + ("Q" if self._is_big else "I"), raw, at + 4)
            if kind not in _TYPES:
                continue
            inline = entry_size - 4 - (8 if self._is_big else 4)
            at_value = at + entry_size - inline
            stored = int(values) * np.dtype(_TYPES[kind]).itemsize
            where = offset + count_size + at_value
            if stored > inline:
                where = int.from_bytes(raw[at_value : at_value + inline], self._byteorder)
                self._must_fit(where, stored, f"tag {tag} of image {image}")
            fields[tag] = _Field(_TYPES[kind], int(values), where)
        return fields, int.from_bytes(raw[count * entry_size :], self._byteorder)

    def _check_blocks(self, fields: dict[int, _Field], *, image: int) -> None:
        for offsets_tag, counts_tag in ((_TILE_OFFSETS, _TILE_COUNTS), (_STRIP_OFFSETS, _STRIP_COUNTS)):
            if offsets_tag not in fields:
                continue
            offsets = self._values(fields[offsets_tag], f"the block table of image {image}")
            # Old strip files may lack the sizes: then at least each start must lie inside.
            sizes = np.ones_like(offsets)
            if counts_tag in fields:
                sizes = self._values(fields[counts_tag], f"the block table of image {image}")
            used = min(len(offsets), len(sizes))
            offsets, sizes = offsets[:used], sizes[:used]
            # Written so that no sum can wrap around 2**64.
            beyond = (sizes > 0) & ((offsets > self._size) | (sizes > self._size - np.minimum(offsets, self._size)))
            if beyond.any():
                first = int(np.argmax(beyond))
                name = "the image" if image == 0 else f"image {image}"
                start, end = int(offsets[first]), int(offsets[first]) + int(sizes[first])
                raise _Broken(
                    f"{int(beyond.sum()):,} of {used:,} blocks of {name} lie beyond the end: block {first} needs bytes "
                    f"{start:,} to {end:,}, the file has {self._size:,}"
                )

    def _values(self, field: _Field, what: str) -> npt.NDArray[np.uint64]:
        kind = np.dtype(self._order + field.kind)
        if field.count * kind.itemsize > _MAX_TABLE_BYTES:
            raise _Broken(f"{what} claims {field.count:,} entries")
        return np.frombuffer(self._read(field.at, field.count * kind.itemsize, what), dtype=kind).astype(np.uint64)

    def _read(self, offset: int, length: int, what: str) -> bytes:
        self._must_fit(offset, length, what)
        data = self._read_range(offset, length)
        if len(data) < length:
            raise _Broken(f"{what} could not be read in full at byte {offset:,}")
        return data

    def _must_fit(self, offset: int, length: int, what: str) -> None:
        if offset + length > self._size:
            raise _Broken(f"{what} needs bytes {offset:,} to {offset + length:,}, the file has {self._size:,}")

    @property
    def _byteorder(self) -> Literal["little", "big"]:
        return "little" if self._order == "<" else "big"


class _Buffered:
    """Reads ahead, so that small neighbouring reads are one request."""

    _AHEAD = 64 * 1024

    def __init__(self, read: ReadRange) -> None:
        self._read = read
        self._start = 0
        self._data = b""

    def __call__(self, offset: int, length: int) -> bytes:
        at = offset - self._start
        if at < 0 or at + length > len(self._data):
            self._data = self._read(offset, max(length, self._AHEAD))
            self._start, at = offset, 0
        return self._data[at : at + length]
