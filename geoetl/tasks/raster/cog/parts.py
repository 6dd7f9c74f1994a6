"""What a band leaves for the assembler: which blocks it staged, the sizes of their tiles, and its strip.

One small blob beside the target, because uncommitted blocks cannot be read back and a task's result is no place for
pixels. Its name has its content's hash: what a receipt names is what was received.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import rasterio
from rasterio.enums import MaskFlags
from rasterio.io import MemoryFile

from geoetl.models.refs import BlobRef
from geoetl.storage.base import StagedBlock
from geoetl.tasks.raster.cog.blocks import TileRun
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.tiles import TileEncoder

_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One encoded band."""

    runs: Sequence[TileRun]
    blocks: Sequence[StagedBlock]
    strip: Pixels | None
    """Its rows of the level after its last; None where it has none."""

    def to_bytes(self, encoder: TileEncoder) -> bytes:
        """A length, that many bytes of JSON, then the strip as a GeoTIFF."""
        index = {"runs": [asdict(run) for run in self.runs], "blocks": [asdict(block) for block in self.blocks]}
        head = json.dumps(index, separators=(",", ":")).encode()
        strip = b"" if self.strip is None else _strip_to_tiff(self.strip, encoder)
        return len(head).to_bytes(_LENGTH_BYTES, "little") + head + strip

    @staticmethod
    def from_bytes(data: bytes) -> "Part":
        """What ``to_bytes`` wrote."""
        start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
        index: dict[str, list[dict[str, Any]]] = json.loads(data[_LENGTH_BYTES:start])
        runs = [
            TileRun(run["level"], run["row"], run["column"], tuple(run["sizes"]), _tuple(run["mask_sizes"]))
            for run in index["runs"]
        ]
        blocks = [StagedBlock(**block) for block in index["blocks"]]
        return Part(runs, blocks, _strip_of_tiff(data[start:]) if len(data) > start else None)


def part_ref(target: BlobRef, band: int, data: bytes) -> BlobRef:
    """``<target>.parts/<band>-<hash>.part``."""
    name = f"{band:06d}-{hashlib.sha256(data).hexdigest()[:16]}.part"
    return BlobRef.of(target.tier, target.container, parts_prefix(target) + name)


def parts_prefix(target: BlobRef) -> str:
    """What the paths of all parts of a COG begin with."""
    return f"{target.path}.parts/"


def _tuple(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)


def _strip_to_tiff(strip: Pixels, encoder: TileEncoder) -> bytes:
    kind = strip.values.dtype.kind
    predictor: dict[str, Any] = {} if kind == "c" else {"predictor": 3 if kind == "f" else 2}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=strip.width, height=strip.height, count=len(strip.values), dtype=encoder.dtype,
            compress="zstd", zstd_level=1, **predictor,
        ) as dst:  # fmt: skip
            dst.write(strip.values)
            if strip.mask is not None:
                dst.write_mask(strip.mask)
        return bytes(memory.getbuffer())


def _strip_of_tiff(data: bytes) -> Pixels:
    with MemoryFile(data) as memory, memory.open() as src:
        # Of four bands GDAL takes the last for alpha, which it calls a mask too.
        has_mask = src.mask_flag_enums[0] == [MaskFlags.per_dataset]
        return Pixels(src.read(), src.read_masks(1) if has_mask else None)
