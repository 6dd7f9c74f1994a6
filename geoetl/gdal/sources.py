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
from geoetl.gdal.env import CACHE_BYTES, gdal_env
from geoetl.gdal.formats import HEAD_BYTES, sniff
from geoetl.gdal.header import Nodata, as_stored, bits_of, is_map, unable
from geoetl.gdal.open import gdal_errors, open_raster
from geoetl.models.raster import BandFacts
from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobChanged, BlobNotFound, BlobStore, GdalAccess

#: For sources that are read once from top to bottom, in whole blocks: nothing is read again but a few rows.
_STREAMED_CACHE_BYTES = 32 * 1024 * 1024


def driver_of(path: Path, ref: str) -> str:
    """The one driver that may open a local file, by its first bytes.

    Raises:
        BadData: ``unsupported-format``: not a raster that is accepted.
    """
    with path.open("rb") as file:
        return _driver_of(file.read(HEAD_BYTES), ref)


def _driver_of(head: bytes, ref: str) -> str:
    found = sniff(head)
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
    path: Path,
    ref: str,
    *,
    source_crs: str | None = None,
    nodata: Nodata = None,
    threads: int = 1,
    cache_bytes: int = CACHE_BYTES,
) -> Generator[DatasetReader]:
    """Open a local copy of a source with what the job says about it.

    Args:
        path: The copy, alone in a scratch folder of ours. It is not changed; where something is given, a VRT is
            written beside it (a VRT keeps masks, palettes, scales, units and tags, and costs no copy of the pixels).
        ref: What messages call it.
        source_crs: CRS where the file has none, or one that is no map.
        nodata: Nodata value of all bands, in place of the file's own.
        threads: For decoding.
        cache_bytes: Of GDAL's block cache.

    Raises:
        BadData: It cannot be opened.
        InvalidInput: ``source_crs`` or ``nodata`` cannot be.
    """
    with _open_described(
        GdalAccess(str(path), {}), ref, driver_of(path, ref), path.with_suffix(".geoetl.vrt"),
        source_crs=source_crs, nodata=nodata, threads=threads, cache_bytes=cache_bytes,
    ) as src:  # fmt: skip
        yield src


@contextmanager
def open_blob_source(
    store: BlobStore,
    ref: BlobRef,
    scratch: Path,
    *,
    etag: str,
    life_s: int,
    source_crs: str | None = None,
    nodata: Nodata = None,
    threads: int = 1,
) -> Generator[DatasetReader]:
    """Open a source where it lies, to be read piece by piece: nothing is copied.

    Args:
        store: Where it lies.
        ref: The source.
        scratch: An empty folder of ours, for a VRT where something is given.
        etag: The version that was checked; GDAL itself does not look at it, so it is looked at before and after.
        life_s: How long it will be read at most.
        source_crs: As in ``open_source``.
        nodata: As in ``open_source``.
        threads: For decoding.

    Raises:
        BadData: As ``open_source``; ``source-changed``: it is not, or no longer, the version of that ETag.
        InvalidInput: As ``open_source``.
        TransientError: The storage did not answer.
    """
    try:
        head = store.read_range(ref, offset=0, length=HEAD_BYTES, etag=etag)
        access = store.gdal_access(ref, life_s=life_s)
        with _open_described(
            access, ref, _driver_of(head, ref), scratch / "source.geoetl.vrt",
            source_crs=source_crs, nodata=nodata, threads=threads, cache_bytes=_STREAMED_CACHE_BYTES,
        ) as src:  # fmt: skip
            yield src
    except (BlobChanged, BlobNotFound) as exc:
        raise source_changed(ref, etag, exc) from exc
    except BadData:
        # Another file in the place of the one whose header was read looks like a damaged one.
        require_unchanged(store, ref, etag)
        raise
    require_unchanged(store, ref, etag)


def require_unchanged(store: BlobStore, ref: BlobRef, etag: str) -> None:
    """Refuse a source that is no longer the version that was checked.

    Raises:
        BadData: ``source-changed``.
    """
    try:
        store.read_range(ref, offset=0, length=1, etag=etag)
    except (BlobChanged, BlobNotFound) as exc:
        raise source_changed(ref, etag, exc) from exc


def source_changed(ref: BlobRef, etag: str, exc: BlobChanged | BlobNotFound) -> BadData:
    """The error of a source that is not what it was at submit."""
    what = "deleted" if isinstance(exc, BlobNotFound) else "replaced"
    return BadData(
        f"Reading {ref} failed: it was {what} after the job was submitted (it was checked with ETag {etag}).",
        code="source-changed",
        hint="Submit the job again, so that the present version is checked and used.",
    )


@contextmanager
def _open_described(
    access: GdalAccess,
    ref: str,
    driver: str,
    vrt: Path,
    *,
    source_crs: str | None,
    nodata: Nodata,
    threads: int,
    cache_bytes: int = CACHE_BYTES,
) -> Generator[DatasetReader]:
    if source_crs is None and nodata is None:
        with open_raster(access, ref, driver=driver, threads=threads, cache_bytes=cache_bytes) as src:
            yield src
        return
    with open_raster(access, ref, driver=driver) as src, gdal_errors(ref, "Describing", access=access):
        rasterio.shutil.copy(src, str(vrt), driver="VRT")
    with (
        gdal_env(access.options),
        gdal_errors(ref, "Setting the CRS and nodata of", access=access),
        rasterio.open(vrt, "r+", driver="VRT") as described,
    ):
        if source_crs is not None:
            _set_crs(described, parse_crs(source_crs, "source_crs"))
        if nodata is not None:
            _set_nodata(described, nodata, ref)
    try:
        described_at = GdalAccess(str(vrt), access.options)
        with open_raster(described_at, ref, driver="VRT", threads=threads, cache_bytes=cache_bytes) as src:
            yield src
    finally:
        vrt.unlink()


def _set_crs(described: DatasetReader, crs: CRS) -> None:
    gcps, gcps_crs = described.gcps
    if gcps and (gcps_crs is None or not is_map(gcps_crs)):
        described.gcps = (gcps, crs)
    elif not gcps:
        described.crs = crs


def _set_nodata(described: DatasetReader, nodata: float, ref: str) -> None:
    bands = [
        BandFacts(dtype=described.dtypes[index - 1], bits=bits_of(described, index)) for index in described.indexes
    ]
    if names := unable(bands, nodata):
        raise InvalidInput(
            f"Setting nodata {nodata:g} for {ref} failed: {names} cannot hold it.",
            code="nodata-out-of-range",
            hint="Give a value of the bands' data type, or leave `nodata` out.",
        )
    described.nodata = as_stored(nodata, described.dtypes[0])
