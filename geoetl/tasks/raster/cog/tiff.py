"""Reading the tables of a small TIFF, and writing those of a large one (TIFF 6.0 section 2, BigTIFF).

The order is that of GDAL's COG driver: ghost area, all directories with their values, then the tables of tile offsets
and sizes (https://gdal.org/en/stable/drivers/raster/cog.html#file-format-details).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SUBFILE_TYPE, IMAGE_WIDTH, IMAGE_LENGTH, TILE_OFFSETS, TILE_SIZES = 254, 256, 257, 324, 325
_SHORT, _LONG, _LONG8 = 3, 4, 16
#: TIFF field type -> bytes of one value.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
#: A tile is stored as its size, its bytes and its last bytes again: what GDAL's ghost area promises.
LEADER_BYTES, TRAILER_BYTES = 4, 4
_GHOST_PREFIX = b"GDAL_STRUCTURAL_METADATA_SIZE="
#: Classic TIFF ends where 32-bit offsets do.
_CLASSIC_LIMIT = 2**32

type Sizes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Field:
    """One entry of a directory, its values as they lie in a little-endian file."""

    kind: int
    count: int
    raw: bytes
    at: int = 0
    """Where its values lay in the file they were read from: values are written in that order."""


type Directory = dict[int, Field]


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a COG to be described: a level, or the mask of one."""

    template: Directory
    """Every tag of it; the sizes and tables are replaced."""
    width: int
    height: int
    offsets: Sizes
    """Of its tiles, row by row; relative to the end of the header. A tile of no bytes has none."""
    sizes: Sizes
    size_kind: int = 4
    """Field type of the table of sizes: LONG, or SHORT where tiles are small."""


def read_directories(data: bytes) -> list[Directory]:
    """All directories of a little-endian classic TIFF, in their order."""
    if data[:4] != b"II*\0":
        raise ValueError("a little-endian classic TIFF is expected")
    (at,) = struct.unpack_from("<I", data, 4)
    found: list[Directory] = []
    while at:
        (count,) = struct.unpack_from("<H", data, at)
        directory: Directory = {}
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from("<HHI", data, entry)
            size, where = values * _VALUE_BYTES[kind], entry + 8
            if size > 4:
                (where,) = struct.unpack_from("<I", data, where)
            directory[tag] = Field(kind, values, data[where : where + size], where)
        found.append(directory)
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)
    return found


def read_ghost_area(data: bytes) -> bytes:
    """What GDAL says about the layout, between the header and the first directory; empty where it says nothing."""
    start = 8
    if not data.startswith(_GHOST_PREFIX, start):
        return b""
    digits = start + len(_GHOST_PREFIX)
    first_line_end = data.index(b"\n", digits) + 1
    return data[start : first_line_end + int(data[digits : digits + 6])]


def tile_ranges(directory: Directory) -> list[tuple[int, int]]:
    """Offset and size of every tile of an image that was read, row by row."""
    offsets, sizes = (
        np.frombuffer(field.raw, dtype="<u2" if field.kind == _SHORT else "<u4")
        for field in (directory[TILE_OFFSETS], directory[TILE_SIZES])
    )
    return list(zip(offsets.tolist(), sizes.tolist(), strict=True))


def write_header(ghost_area: bytes, images: Sequence[Image], tables: Sequence[int], *, data_bytes: int) -> bytes:
    """Everything that comes before the tiles.

    Args:
        ghost_area: Taken over as it is.
        images: In the order of their directories.
        tables: Indices of ``images`` in the order in which their tables are written.
        data_bytes: Size of all tiles: decides whether 32-bit offsets do.
    """
    for is_big in (False, True):
        writer = _HeaderWriter(ghost_area, is_big=is_big)
        length = len(writer.write(images, tables, data_start=0))
        if is_big or length + data_bytes < _CLASSIC_LIMIT:
            return _HeaderWriter(ghost_area, is_big=is_big).write(images, tables, data_start=length)
    raise AssertionError("BigTIFF holds everything")


class _HeaderWriter:
    """Writes once, from front to back; values that do not fit into their entry follow later."""

    def __init__(self, ghost_area: bytes, *, is_big: bool) -> None:
        self._word = "<Q" if is_big else "<I"
        self._word_bytes = 8 if is_big else 4
        self._is_big = is_big
        self._out = bytearray(b"II+\0\x08\0\0\0" + bytes(8) if is_big else b"II*\0" + bytes(4))
        self._link = len(self._out) - self._word_bytes
        self._out += ghost_area

    def write(self, images: Sequence[Image], tables: Sequence[int], *, data_start: int) -> bytes:
        waiting = [self._directory(image, data_start) for image in images]
        for index in tables:
            for at, raw in waiting[index]:
                self._value(at, raw)
        return bytes(self._out)

    def _directory(self, image: Image, data_start: int) -> list[tuple[int, bytes]]:
        """Write a directory and its values; the tables that are still to come, with the place of their offset."""
        self._out += bytes(len(self._out) % 2)
        struct.pack_into(self._word, self._out, self._link, len(self._out))
        fields = {**image.template, **_size_fields(image), **self._table_fields(image, data_start)}
        self._out += struct.pack("<Q" if self._is_big else "<H", len(fields))
        values: list[tuple[int, int, bytes]] = []
        tables: list[tuple[int, bytes]] = []
        for tag in sorted(fields):
            field = fields[tag]
            self._out += struct.pack("<HHQ" if self._is_big else "<HHI", tag, field.kind, field.count)
            inline = field.raw
            if len(field.raw) > self._word_bytes:
                if tag in {TILE_OFFSETS, TILE_SIZES}:
                    tables.append((len(self._out), field.raw))
                else:
                    values.append((field.at, len(self._out), field.raw))
                inline = b""
            self._out += inline.ljust(self._word_bytes, b"\0")
        self._link = len(self._out)
        self._out += bytes(self._word_bytes)
        for _, at, raw in sorted(values):
            self._value(at, raw)
        return tables

    def _value(self, at: int, raw: bytes) -> None:
        self._out += bytes(-len(self._out) % (8 if self._is_big else 2))
        struct.pack_into(self._word, self._out, at, len(self._out))
        self._out += raw

    def _table_fields(self, image: Image, data_start: int) -> Directory:
        offsets = np.where(image.sizes > 0, image.offsets + np.uint64(data_start), np.uint64(0))
        kind, code = (_LONG8, "<u8") if self._is_big else (_LONG, "<u4")
        return {
            TILE_OFFSETS: Field(kind, len(offsets), offsets.astype(code).tobytes()),
            TILE_SIZES: _sizes_field(image),
        }


def _size_fields(image: Image) -> Directory:
    return {IMAGE_WIDTH: _dimension(image.width), IMAGE_LENGTH: _dimension(image.height)}


def _sizes_field(image: Image) -> Field:
    # libtiff's rule: a single value is always a LONG.
    is_short = image.size_kind == _SHORT and len(image.sizes) > 1
    raw = image.sizes.astype("<u2" if is_short else "<u4").tobytes()
    return Field(_SHORT if is_short else _LONG, len(image.sizes), raw)


def _dimension(value: int) -> Field:
    if value < 2**16:
        return Field(_SHORT, 1, struct.pack("<H", value))
    return Field(_LONG, 1, struct.pack("<I", value))


def record(tile: bytes) -> bytes:
    """A tile as it lies in the file."""
    return struct.pack("<I", len(tile)) + tile + tile[-TRAILER_BYTES:].ljust(TRAILER_BYTES, b"\0")
