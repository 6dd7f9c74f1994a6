"""A mosaic as a raster to be read: a GDAL VRT over its sources (https://gdal.org/en/stable/drivers/raster/vrt.html).

Its header is the first source's: bands, palette, nodata, units. Its pixels are the sources', by GDAL itself: without
overlap or nodata each is copied; else sources lie one above the other (``ComplexSource``), and nodata is transparent,
band by band. The highest and lowest values come from GDAL's pixel functions, each band in a VRT of its own.
"""

import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import rasterio.shutil
from rasterio.io import DatasetReader

from geoetl.gdal.env import CACHE_BYTES
from geoetl.gdal.header import Nodata
from geoetl.gdal.open import gdal_errors, open_raster
from geoetl.models.mosaic import MosaicGrid, MosaicSource
from geoetl.storage.base import GdalAccess

#: Pixels per side of what GDAL's cache holds of the mosaic.
_BLOCK = "512"
_PIXEL_FUNCTIONS = {"highest": "max", "lowest": "min"}
#: Elements that are about the first source alone.
_OF_FIRST = {
    "SimpleSource", "ComplexSource", "KernelFilteredSource", "Overview", "OverviewList", "Histograms", "GCPList",
}  # fmt: skip


@contextmanager
def open_mosaic(
    first: DatasetReader,
    mosaic: MosaicGrid,
    paths: Sequence[str],
    folder: Path,
    *,
    options: dict[str, str],
    threads: int,
    cache_bytes: int = CACHE_BYTES,
) -> Generator[DatasetReader]:
    """Open a mosaic for reading.

    Args:
        first: The first source of the job, open, with the job's CRS and nodata: what the header is taken from.
        mosaic: The grid and sources that are needed.
        paths: Of these sources, as GDAL reaches them.
        folder: For VRT files, which are removed afterwards.
        options: What GDAL needs to reach them.
        threads: For decoding.
        cache_bytes: Of GDAL's block cache.

    Raises:
        BadData: It cannot be opened.
    """
    ref = name_of(mosaic)
    own = folder / "mosaic.geoetl"
    own.mkdir()
    try:
        vrt = own / "mosaic.vrt"
        with gdal_errors(ref, "Describing"):
            rasterio.shutil.copy(first, str(vrt), driver="VRT")
            vrt.write_bytes(_Description(mosaic, paths, first.nodata, own).of(vrt.read_bytes()))
        with open_raster(
            GdalAccess(str(vrt), options), ref, driver="VRT", threads=threads, cache_bytes=cache_bytes
        ) as src:
            yield src
    finally:
        shutil.rmtree(own)


def name_of(mosaic: MosaicGrid) -> str:
    """What messages call a mosaic."""
    names = [str(each.source) for each in mosaic.sources[:1]]
    more = len(mosaic.sources) - 1
    return f"the mosaic of {names[0] if names else 'nothing'}{f' and {more} more' if more > 0 else ''}"


@dataclass(frozen=True, slots=True)
class _Description:
    """Turns the VRT of the first source into that of the mosaic."""

    mosaic: MosaicGrid
    paths: Sequence[str]
    nodata: Nodata
    folder: Path

    def of(self, vrt: bytes) -> bytes:
        root = ElementTree.fromstring(vrt)  # noqa: S314 - GDAL wrote it, from a source that was opened
        _remove(root)
        self._place(root)
        for metadata in root.findall("Metadata"):
            if metadata.get("domain") is None:
                for item in [item for item in metadata if item.get("key") not in self.mosaic.tags]:
                    metadata.remove(item)
            elif metadata.get("domain") != "COLOR_PROFILE":
                # RPCs and such are about the first source. And told by IMAGE_STRUCTURE that pixels are interleaved,
                # GDAL 3.12 reads by blocks, and fills those at the right edge wrongly where a pixel function meets
                # nodata 0.
                root.remove(metadata)
        for band in root.findall("VRTRasterBand"):
            self._describe(band)
        return ElementTree.tostring(root)

    def _place(self, root: Element) -> None:
        root.set("rasterXSize", str(self.mosaic.width))
        root.set("rasterYSize", str(self.mosaic.height))
        a, b, c, d, e, f = self.mosaic.transform
        placed = root.find("GeoTransform")
        placed = SubElement(root, "GeoTransform") if placed is None else placed
        placed.text = ", ".join(repr(number) for number in (c, a, b, f, d, e))

    def _describe(self, band: Element) -> None:
        _remove(band)
        for metadata in band.findall("Metadata"):
            for item in [item for item in metadata if item.get("key", "").startswith("STATISTICS_")]:
                metadata.remove(item)
        mosaic = self.mosaic
        band.set("blockXSize", _BLOCK)
        band.set("blockYSize", _BLOCK)
        if mosaic.has_overlap and mosaic.overlap in _PIXEL_FUNCTIONS and mosaic.sources:
            whole = MosaicSource(
                source=mosaic.sources[0].source, etag="", column=0, row=0, width=mosaic.width, height=mosaic.height
            )
            _add_source(band, whole, str(self._derived(band)), from_band="1", nodata=None)
            return
        self._add_sources(band, band.get("band", "1"))

    def _derived(self, band: Element) -> Path:
        """A VRT of one band whose values are the highest, or lowest, of all sources."""
        root = Element("VRTDataset")
        self._place(root)
        kept = {name: band.get(name, "") for name in ("dataType", "blockXSize", "blockYSize")}
        derived = SubElement(root, "VRTRasterBand", {**kept, "band": "1", "subClass": "VRTDerivedRasterBand"})
        if (nodata := band.find("NoDataValue")) is not None:
            derived.append(nodata)
        SubElement(derived, "PixelFunctionType").text = _PIXEL_FUNCTIONS[self.mosaic.overlap]
        # Else every window would cost a buffer for each source of the mosaic.
        SubElement(derived, "SkipNonContributingSources").text = "true"
        self._add_sources(derived, band.get("band", "1"))
        path = self.folder / f"band-{band.get('band')}.vrt"
        path.write_bytes(ElementTree.tostring(root))
        return path

    def _add_sources(self, band: Element, from_band: str) -> None:
        ordered = list(zip(self.mosaic.sources, self.paths, strict=True))
        if self.mosaic.overlap == "first":
            # GDAL paints in this order: what comes later lies above.
            ordered.reverse()
        for source, path in ordered:
            _add_source(
                band, source, path, from_band=from_band, nodata=self.nodata if self.mosaic.has_overlap else None
            )


def _add_source(band: Element, source: MosaicSource, path: str, *, from_band: str, nodata: Nodata) -> None:
    element = SubElement(band, "SimpleSource" if nodata is None else "ComplexSource")
    SubElement(element, "SourceFilename", relativeToVRT="0").text = path
    SubElement(element, "SourceBand").text = from_band
    # What GDAL need not open the file for.
    size = {"RasterXSize": str(source.width), "RasterYSize": str(source.height)}
    kind = {"DataType": band.get("dataType", ""), "BlockXSize": _BLOCK, "BlockYSize": _BLOCK}
    SubElement(element, "SourceProperties", size | kind)
    extent = {"xSize": str(source.width), "ySize": str(source.height)}
    SubElement(element, "SrcRect", {"xOff": "0", "yOff": "0"} | extent)
    SubElement(element, "DstRect", {"xOff": str(source.column), "yOff": str(source.row)} | extent)
    if nodata is not None:
        SubElement(element, "NODATA").text = repr(nodata)


def _remove(parent: Element) -> None:
    for child in [child for child in parent if child.tag in _OF_FIRST]:
        parent.remove(child)
