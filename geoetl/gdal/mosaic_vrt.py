"""A mosaic as a raster to be read: a GDAL VRT over its sources (https://gdal.org/en/stable/drivers/raster/vrt.html).

Its header is the first source's: bands, palette, nodata, units. Its pixels are the sources', by GDAL itself: without
overlap or nodata each is copied; else sources lie one above the other (``ComplexSource``), and nodata is transparent,
band by band. The highest and lowest values come from GDAL's pixel functions, each band in a VRT of its own.

Where sources have masks, these say what is transparent (``UseMaskBand``), for all bands alike. What any source has is
valid: the mosaic's mask is the highest of theirs. An alpha band is made a mask of its source first, since GDAL takes it
for one in rasters of two or four bands only.
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
from geoetl.models.mosaic import MosaicGrid, MosaicSource, OverlapRule
from geoetl.storage.base import GdalAccess

#: Pixels per side of what GDAL's cache holds of the mosaic.
_BLOCK = "512"
_PIXEL_FUNCTIONS: dict[OverlapRule, str] = {"highest": "max", "lowest": "min"}
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
        for mask in root.findall("MaskBand"):
            root.remove(mask)
        bands = root.findall("VRTRasterBand")
        sources = self._sources(bands)
        for band in bands:
            self._describe(band, sources)
        if self.mosaic.mask == "internal":
            self._add_mask(root)
        return ElementTree.tostring(root)

    def _place(self, root: Element) -> None:
        root.set("rasterXSize", str(self.mosaic.width))
        root.set("rasterYSize", str(self.mosaic.height))
        a, b, c, d, e, f = self.mosaic.transform
        placed = root.find("GeoTransform")
        placed = SubElement(root, "GeoTransform") if placed is None else placed
        placed.text = ", ".join(repr(number) for number in (c, a, b, f, d, e))

    def _sources(self, bands: Sequence[Element]) -> list[tuple[MosaicSource, str]]:
        """Sources and their paths, in the order of the job."""
        paths = self.paths
        if self._is_masked and self.mosaic.mask == "alpha":
            paths = [
                str(self._masked_by_alpha(number, *pair, bands))
                for number, pair in enumerate(zip(self.mosaic.sources, paths, strict=True))
            ]
        return list(zip(self.mosaic.sources, paths, strict=True))

    @property
    def _is_masked(self) -> bool:
        """Whether a mask decides which source is seen."""
        return self.mosaic.has_overlap and self.mosaic.mask != "none"

    def _masked_by_alpha(self, number: int, source: MosaicSource, path: str, bands: Sequence[Element]) -> Path:
        """A VRT of one source, with its alpha band as mask, too."""
        root = Element("VRTDataset", {"rasterXSize": str(source.width), "rasterYSize": str(source.height)})
        origin = source.model_copy(update={"column": 0, "row": 0})
        alpha = next(band for band in bands if band.findtext("ColorInterp") == "Alpha")
        for band in bands:
            kept = {name: band.get(name, "") for name in ("dataType", "band")}
            _add_source(SubElement(root, "VRTRasterBand", kept), origin, path, from_band=band.get("band", ""))
        mask = SubElement(SubElement(root, "MaskBand"), "VRTRasterBand", {"dataType": "Byte"})
        _add_source(mask, origin, path, from_band=alpha.get("band", ""))
        return self._written(f"source-{number}", root)

    def _describe(self, band: Element, sources: Sequence[tuple[MosaicSource, str]]) -> None:
        _remove(band)
        for metadata in band.findall("Metadata"):
            for item in [item for item in metadata if item.get("key", "").startswith("STATISTICS_")]:
                metadata.remove(item)
        mosaic, number = self.mosaic, band.get("band", "1")
        band.set("blockXSize", _BLOCK)
        band.set("blockYSize", _BLOCK)
        if mosaic.has_overlap and mosaic.overlap in _PIXEL_FUNCTIONS and mosaic.sources:
            derived = Element("VRTRasterBand", {"dataType": band.get("dataType", "")})
            nodata = band.find("NoDataValue")
            if self._is_masked or nodata is None:
                # No value of the band's own type is free to say that a source has none, and by itself GDAL says 0.
                derived.set("dataType", "Float64")
                nodata = Element("NoDataValue")
                nodata.text = "nan"
            derived.append(nodata)
            self._compose(derived, sources, number)
            _add_source(band, self._whole, self._derived(f"band-{number}", derived, mosaic.overlap), from_band="1")
            return
        self._compose(band, sources, number)

    def _compose(self, band: Element, sources: Sequence[tuple[MosaicSource, str]], from_band: str) -> None:
        nodata = self.nodata if self.mosaic.has_overlap else None
        # GDAL paints in this order: what comes later lies above.
        for source, path in reversed(sources) if self.mosaic.overlap == "first" else sources:
            _add_source(band, source, path, from_band=from_band, nodata=nodata, uses_mask=self._is_masked)

    def _add_mask(self, root: Element) -> None:
        mask = SubElement(SubElement(root, "MaskBand"), "VRTRasterBand", {"dataType": "Byte"})
        if not self.mosaic.sources:
            return
        union = Element("VRTRasterBand", {"dataType": "Byte"})
        for source, path in zip(self.mosaic.sources, self.paths, strict=True):
            _add_source(union, source, path, from_band="mask,1")
        _add_source(mask, self._whole, self._derived("mask", union, "highest"), from_band="1")

    @property
    def _whole(self) -> MosaicSource:
        mosaic = self.mosaic
        return MosaicSource(
            source=mosaic.sources[0].source, etag="", column=0, row=0, width=mosaic.width, height=mosaic.height
        )

    def _derived(self, name: str, band: Element, rule: OverlapRule) -> Path:
        """A VRT of one band whose values are the highest, or lowest, of all its sources."""
        root = Element("VRTDataset")
        self._place(root)
        for key, value in {"blockXSize": _BLOCK, "blockYSize": _BLOCK, "band": "1"}.items():
            band.set(key, value)
        band.set("subClass", "VRTDerivedRasterBand")
        SubElement(band, "PixelFunctionType").text = _PIXEL_FUNCTIONS[rule]
        # Else every window would cost a buffer for each source of the mosaic.
        SubElement(band, "SkipNonContributingSources").text = "true"
        root.append(band)
        return self._written(name, root)

    def _written(self, name: str, root: Element) -> Path:
        path = self.folder / f"{name}.vrt"
        path.write_bytes(ElementTree.tostring(root))
        return path


def _add_source(
    band: Element,
    source: MosaicSource,
    path: str | Path,
    *,
    from_band: str,
    nodata: Nodata = None,
    uses_mask: bool = False,
) -> None:
    """Add a source that is copied; but for its ``nodata`` value, or what its mask leaves out."""
    element = SubElement(band, "ComplexSource" if uses_mask or nodata is not None else "SimpleSource")
    SubElement(element, "SourceFilename", relativeToVRT="0").text = str(path)
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
    if uses_mask:
        SubElement(element, "UseMaskBand").text = "true"


def _remove(parent: Element) -> None:
    for child in [child for child in parent if child.tag in _OF_FIRST]:
        parent.remove(child)
