"""Rows of tiles are encoded at once by several threads, and come out in the order in which they went in."""

import threading

import numpy as np
import pytest

from geoetl.errors import SystemFault
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.queue import TileQueue
from geoetl.tasks.raster.cog.tiles import Tile

PIXELS = [Pixels(np.full((1, 1, 1), number, dtype="uint8")) for number in range(9)]


class Rows(list):
    """Takes the place of a stager."""

    def add(self, level, row, column, tiles):
        self.append((level, row, column, [tile.image for tile in tiles]))


class LastFirst:
    """An encoder whose first row of tiles is not ready before the second."""

    def __init__(self):
        self.second = threading.Event()

    def encode(self, pixels):
        number = int(pixels.values[0, 0, 0])
        if number == 0:
            assert self.second.wait(10)
        if number == 1:
            self.second.set()
        return [Tile(bytes([number]), None)]


class Broken:
    def encode(self, pixels):
        raise SystemFault("Encoding failed.", code="cog-differs")


def test_rows_keep_their_order_whichever_is_ready_first():
    rows = Rows()
    with TileQueue(LastFirst(), rows, threads=2) as queue:
        for number, pixels in enumerate(PIXELS):
            queue.add(0, number, 4, pixels)

    assert rows == [(0, number, 4, [bytes([number])]) for number in range(len(PIXELS))]


@pytest.mark.parametrize("threads", [1, 2])
def test_what_fails_in_a_thread_fails_the_task(threads):
    rows = Rows()
    with pytest.raises(SystemFault, match="Encoding failed"), TileQueue(Broken(), rows, threads=threads) as queue:
        queue.add(0, 0, 0, PIXELS[0])

    assert rows == []
