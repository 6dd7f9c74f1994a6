"""Which files are rasters to us: decided by their first bytes, never by their name.

The list is short on purpose. A GeoTIFF and a JPEG 2000 carry pixels and georeference in one file; PNG and JPEG need a
sidecar for the second, and a format that only *points* to data (VRT, GTI, STACTA, WMS, ...) could read any file or
address the worker can reach.
"""

from dataclasses import dataclass

#: How much of a file is needed to know its format.
HEAD_BYTES = 1024

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JP2 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")

#: Recognised so that the message can name them. First bytes, and what they are.
_OTHER_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"CDF\x01", "a netCDF file"),
    (b"CDF\x02", "a netCDF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 or netCDF-4 file"),
    (b"GRIB", "a GRIB file"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3\0", "a GeoPackage or SQLite database"),
    (b"EHFA_HEADER_TAG", "an ERDAS Imagine file"),
    (b"RIFF", "a RIFF (WebP) file"),
    (b"NITF", "a NITF file"),
)

#: Text that makes GDAL read something else, by what it contains (lower case).
_POINTERS = (
    (b"<vrtdataset", "a VRT"),
    (b"<ogrvrtdatasource", "a VRT"),
    (b"<gdaltileindexdataset", "a tile index (GTI)"),
    (b"<gdal_wms", "a WMS description"),
    (b"<wms_", "a WMS description"),
    (b"<wmt_ms_capabilities", "a WMS description"),
    (b"<gdal_wmts", "a WMTS description"),
    (b"<wcs_gdal", "a WCS description"),
    (b'"gdalg"', "a GDAL pipeline (GDALG)"),
    (b'"gdal_streamed_alg"', "a GDAL pipeline (GDALG)"),
)


@dataclass(frozen=True, slots=True)
class Format:
    """What the first bytes say."""

    name: str
    """In words, for messages: ``a TIFF file``."""
    driver: str | None
    """The one GDAL driver that may open it; None where it is refused."""
    points_elsewhere: bool = False
    """It holds no pixels, but names files or addresses to read them from."""
    is_text: bool = False


def sniff(head: bytes) -> Format:
    """The format of a file that begins with ``head`` (``HEAD_BYTES`` of it, or all)."""
    if head.startswith(_TIFF):
        return Format("a TIFF file", driver="GTiff")
    if head.startswith(_JP2):
        return Format("a JPEG 2000 file", driver="JP2OpenJPEG")
    for magic, name in _OTHER_MAGIC:
        if head.startswith(magic):
            return Format(name, driver=None)
    lowered = _as_plain_text(head).lower()
    for mark, name in _POINTERS:
        if mark in lowered:
            return Format(name, driver=None, points_elsewhere=True)
    is_text = bool(head) and all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in lowered)
    return Format("text" if is_text else "no raster format that is known here", driver=None, is_text=is_text)


def _as_plain_text(head: bytes) -> bytes:
    """``head`` without a byte order mark; UTF-16 reduced to its low bytes."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[2:].replace(b"\0", b"")
    return head.removeprefix(b"\xef\xbb\xbf")
