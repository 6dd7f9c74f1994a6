"""Every tag that a COG of this source has, taken from a tiny one that GDAL's COG driver writes.

The tiny one has the source's metadata and the COG's creation options, but two tiles' width and no pixels: a VRT of the
source without its sources.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import rasterio
import rasterio.shutil
from rasterio.io import DatasetReader, MemoryFile

from geoetl.errors import SystemFault
from geoetl.gdal.open import gdal_errors
from geoetl.tasks.raster.cog.layout import CogLayout
from geoetl.tasks.raster.cog.tiff import SUBFILE_TYPE, Directory, read_directories, read_ghost_area
from geoetl.tasks.raster.profiles import CogProfile

#: Elements of a VRT that lead to pixels.
_LEADS_TO_PIXELS = {"SimpleSource", "ComplexSource", "OverviewList", "Overview"}
#: Bits of the tag NewSubfileType.
_REDUCED, _MASK = 1, 4


@dataclass(frozen=True, slots=True)
class CogTemplate:
    """Directories to be copied, sizes and tile tables aside."""

    ghost_area: bytes
    image: Directory
    mask: Directory | None
    overview: Directory | None
    overview_mask: Directory | None


def make_template(src: DatasetReader, layout: CogLayout, profile: CogProfile, ref: str, scratch: Path) -> CogTemplate:
    """Have the COG driver write the tags of ``src``."""
    vrt = scratch / "template.vrt"
    side = layout.blocksize * (2 if layout.last_level else 1)
    with gdal_errors(ref, "Describing the COG of", code="unwritable", error=SystemFault):
        rasterio.shutil.copy(src, str(vrt), driver="VRT")
        vrt.write_bytes(_without_pixels(vrt.read_bytes(), side))
        with MemoryFile(ext=".tif") as memory, rasterio.open(vrt, driver="VRT") as described:
            options = {**profile.options, "BIGTIFF": "NO", "BLOCKSIZE": str(layout.blocksize)}
            rasterio.shutil.copy(described, memory.name, driver="COG", **options)
            data = bytes(memory.getbuffer())
    vrt.unlink()
    by_kind = {_kind(directory): directory for directory in read_directories(data)}
    return CogTemplate(
        ghost_area=read_ghost_area(data),
        image=by_kind[0],
        mask=by_kind.get(_MASK),
        overview=by_kind.get(_REDUCED),
        overview_mask=by_kind.get(_REDUCED | _MASK),
    )


def _kind(directory: Directory) -> int:
    field = directory.get(SUBFILE_TYPE)
    return int.from_bytes(field.raw, "little") if field else 0


def _without_pixels(vrt: bytes, side: int) -> bytes:
    root = ElementTree.fromstring(vrt)  # noqa: S314 - GDAL wrote it, from a source that was opened
    root.set("rasterXSize", str(side))
    root.set("rasterYSize", str(side))
    for parent in list(_elements(root)):
        for child in [child for child in parent if child.tag in _LEADS_TO_PIXELS]:
            parent.remove(child)
    return ElementTree.tostring(root)


def _elements(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    yield root
    for child in root:
        yield from _elements(child)
