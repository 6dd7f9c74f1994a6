"""A source on local disk, opened as the job says it is: with its CRS and nodata given where the file lacks them."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from geoetl.errors import BadData, InvalidInput
from geoetl.gdal.env import gdal_env
from geoetl.gdal.formats import HEAD_BYTES, sniff
from geoetl.gdal.header import Nodata, dtype_holds
from geoetl.gdal.open import gdal_errors, open_raster
from geoetl.storage.base import GdalAccess


def driver_of(path: Path, ref: str) -> str:
    """The one driver that may open a local file, by its first bytes.

    Raises:
        BadData: ``unsupported-format``: not a raster that is accepted.
    """
    with path.open("rb") as file:
        found = sniff(file.read(HEAD_BYTES))
    if found.driver is None:
        raise BadData(
            f"Opening {ref} as a raster failed: it is {found.name}.",
            code="unsupported-format",
            hint="Deliver a GeoTIFF or a JPEG 2000 file.",
        )
    return found.driver


def parse_crs(text: str, parameter: str) -> CRS:
    """A CRS from what a user wrote.

    Raises:
        InvalidInput: ``invalid-crs``: PROJ does not know it.
    """
    try:
        with gdal_env():
            return CRS.from_user_input(text)
    except (CRSError, ValueError) as exc:  # rasterio leaves int("banana") of EPSG:banana to its caller
        raise InvalidInput(
            f"Reading {parameter} {text!r} as a CRS failed: PROJ does not know it.",
            code="invalid-crs",
            hint="Write an authority code such as EPSG:32618, or WKT.",
        ) from exc


@contextmanager
def open_source(
    path: Path, ref: str, *, source_crs: str | None = None, nodata: Nodata = None, threads: int = 1
) -> Generator[DatasetReader]:
    """Open a local copy of a source with what the job says about it.

    Args:
        path: The copy, alone in a scratch folder of ours. It is not changed; where something is given, a VRT is
            written beside it (a VRT keeps masks, palettes, scales, units and tags, and costs no copy of the pixels).
        ref: What messages call it.
        source_crs: CRS where the file has none.
        nodata: Nodata value of all bands, in place of the file's own.
        threads: For decoding.

    Raises:
        BadData: It cannot be opened.
        InvalidInput: ``source_crs`` or ``nodata`` cannot be.
    """
    driver = driver_of(path, ref)
    if source_crs is None and nodata is None:
        with open_raster(GdalAccess(str(path), {}), ref, driver=driver, threads=threads) as src:
            yield src
        return
    vrt = path.with_suffix(".geoetl.vrt")
    with open_raster(GdalAccess(str(path), {}), ref, driver=driver) as src, gdal_errors(ref, "Describing"):
        rasterio.shutil.copy(src, str(vrt), driver="VRT")
    with (
        gdal_env(),
        gdal_errors(ref, "Setting the CRS and nodata of"),
        rasterio.open(vrt, "r+", driver="VRT") as described,
    ):
        if source_crs is not None:
            _set_crs(described, parse_crs(source_crs, "source_crs"))
        if nodata is not None:
            _set_nodata(described, nodata, ref)
    try:
        with open_raster(GdalAccess(str(vrt), {}), ref, driver="VRT", threads=threads) as src:
            yield src
    finally:
        vrt.unlink()


def _set_crs(described: DatasetReader, crs: CRS) -> None:
    gcps, gcps_crs = described.gcps
    if gcps and gcps_crs is None:
        described.gcps = (gcps, crs)
    elif not gcps:
        described.crs = crs


def _set_nodata(described: DatasetReader, nodata: float, ref: str) -> None:
    if unable := sorted({dtype for dtype in described.dtypes if not dtype_holds(dtype, nodata)}):
        raise InvalidInput(
            f"Setting nodata {nodata:g} for {ref} failed: {' and '.join(unable)} cannot hold it.",
            code="nodata-out-of-range",
            hint="Give a value of the bands' data type, or leave `nodata` out.",
        )
    described.nodata = nodata
