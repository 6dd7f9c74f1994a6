"""Walking through a raster in pieces of bounded size, along its blocks."""

from collections.abc import Iterator

import numpy as np
from rasterio.io import DatasetReader
from rasterio.windows import Window

#: Decoded size of one piece, all bands together.
PIECE_BYTES = 32 * 1024 * 1024
#: GDAL's complex integers are read as complex floats.
_NUMPY_NAMES = {"complex_int16": "complex64", "cint16": "complex64", "cint32": "complex64"}


def pieces(src: DatasetReader, *, piece_bytes: int = PIECE_BYTES) -> Iterator[Window]:
    """Windows that cover ``src`` once, row by row, each of whole blocks and about ``piece_bytes`` decoded.

    A piece is never smaller than one block: decoding a block twice would cost more than holding it once.
    """
    block_height, block_width = src.block_shapes[0]
    budget = max(1, piece_bytes // max(1, bytes_per_pixel(src)))
    columns = min(src.width, max(block_width, budget // block_height // block_width * block_width))
    rows = min(src.height, max(block_height, budget // columns // block_height * block_height))
    for row in range(0, src.height, rows):
        for column in range(0, src.width, columns):
            yield window(column, row, min(columns, src.width - column), min(rows, src.height - row))


def blocks(src: DatasetReader, inside: Window) -> Iterator[Window]:
    """The single blocks of band 1 that ``inside`` (made of whole blocks) covers."""
    block_height, block_width = src.block_shapes[0]
    right, bottom = inside.col_off + inside.width, inside.row_off + inside.height
    for row in range(inside.row_off, bottom, block_height):
        for column in range(inside.col_off, right, block_width):
            yield window(column, row, min(block_width, right - column), min(block_height, bottom - row))


def bytes_per_pixel(src: DatasetReader) -> int:
    """Of all bands in numpy, with their masks."""
    return sum(np.dtype(_NUMPY_NAMES.get(name, name)).itemsize + 1 for name in src.dtypes)


def window(column: int, row: int, width: int, height: int) -> Window:
    """A window of ``width`` x ``height`` pixels whose upper left pixel is at ``column``, ``row``."""
    return Window(column, row, width, height)  # pyright: ignore[reportCallIssue]  # attrs class without stubs
