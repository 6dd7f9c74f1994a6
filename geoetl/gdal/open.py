"""Opening rasters: hardened settings, one driver, and GDAL's errors in our words."""

import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError  # what rasterio raises where it has no error of its own; no public name
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from geoetl.errors import BadData, OutOfMemory, SystemFault, TransientError
from geoetl.gdal.env import CACHE_BYTES, gdal_env
from geoetl.storage.base import GdalAccess

# A missing georeference is a finding of ours, not a warning. Set once for the process: ``catch_warnings`` around each
# open would race, as checks run in threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

#: The georeference comes from inside the file alone (GDAL would look for .tfw, .tab and .xml too).
_OPEN_OPTIONS: dict[str, dict[str, Any]] = {
    "GTiff": {"GEOREF_SOURCES": "INTERNAL"},
    "JP2OpenJPEG": {"GEOREF_SOURCES": "INTERNAL", "STRICT": "YES"},
    # Written by us around a file that was checked (see sources.py); never what a user sent.
    "VRT": {},
}

_NETWORK_TROUBLE = re.compile(
    r"HTTP (response code|error)[^0-9]*(408|429|5\d\d)|timed? ?out|could ?n.t connect|couldn't resolve"
    r"|connection (reset|refused|closed)|recv failure|send failure|empty reply",
    re.IGNORECASE,
)
_ACCESS_REFUSED = re.compile(r"HTTP (response code|error)[^0-9]*(401|403)", re.IGNORECASE)
#: What libtiff says when the disk is full; the reason itself goes to standard error only.
_DISK_FULL = re.compile(r"TIFF(Append|Flush|Write|Rewrite)\w*:.*(write|seek) error|no space left", re.IGNORECASE)
#: What GDAL and the libraries below it say when an allocation fails.
_NO_MEMORY = re.compile(
    r"out of memory|cannot allocate|memory allocation|could ?n.t allocate|bad_alloc|malloc", re.IGNORECASE
)
_HINTS: dict[type[BadData | SystemFault], str] = {
    BadData: "Open the file with gdalinfo, mend or export it again, and upload it anew.",
    SystemFault: "Nothing was published. Report this with the source file.",
}
#: A query string holds a signature, a key is one: neither may reach a message.
_QUERY = re.compile(r"\?[^\s'\"]+")


@contextmanager
def open_raster(
    access: GdalAccess, ref: str, *, driver: str = "GTiff", threads: int = 1, cache_bytes: int = CACHE_BYTES
) -> Generator[DatasetReader]:
    """Open one raster for reading, with the hardened settings for as long as the block lasts.

    Args:
        access: Where it is and how to get at it.
        ref: What messages call it; the reference the user knows.
        driver: The one GDAL driver allowed, as ``formats.sniff`` decided.
        threads: For decoding.
        cache_bytes: Of GDAL's block cache.

    Raises:
        BadData: ``unreadable-raster``: GDAL cannot open it.
        SystemFault: ``access-refused``: the storage knows us not.
        TransientError: The storage did not answer.
    """
    with gdal_env(access.options, threads=threads, cache_bytes=cache_bytes):
        with gdal_errors(ref, "Opening", access=access):
            dataset = rasterio.open(access.path, driver=driver, sharing=False, **_OPEN_OPTIONS[driver])
        with dataset:
            yield dataset


@contextmanager
def gdal_errors(
    ref: str,
    doing: str,
    *,
    code: str = "unreadable-raster",
    access: GdalAccess | None = None,
    error: type[BadData | SystemFault] = BadData,
) -> Generator[None]:
    """Translate what rasterio and GDAL raise inside the block.

    Args:
        ref: The object the block works on, for the message.
        doing: What is tried, as the message begins: ``Opening``, ``Reading the header of``.
        code: Of the error that is raised.
        access: Its path is replaced by ``ref`` in GDAL's words.
        error: Who must act, where neither the storage nor the disk is the reason.
    """
    try:
        yield
    except (RasterioError, CRSError, CPLE_BaseError) as exc:
        found = gdal_words(exc, ref, access)
        if _NO_MEMORY.search(found):
            raise OutOfMemory(f"{doing} {ref} needed more memory than there was; GDAL says: {found}.") from exc
        if _ACCESS_REFUSED.search(found):
            raise SystemFault(
                f"{doing} {ref} failed because the storage refused access: {found}.",
                code="access-refused",
                hint="Check the roles of the worker's identity (Storage Blob Data Reader) and the clocks.",
            ) from exc
        if _NETWORK_TROUBLE.search(found):
            raise TransientError(f"{doing} {ref} failed because the storage did not answer: {found}.") from exc
        if _DISK_FULL.search(found):
            raise TransientError(
                f"{doing} {ref} failed because the scratch disk took no more: {found}.",
                code="scratch-full",
                hint="It is tried again later; give the workers a larger scratch volume if this stays.",
            ) from exc
        raise error(f"{doing} {ref} failed; GDAL says: {found}.", code=code, hint=_HINTS[error]) from exc


def gdal_words(exc: BaseException, ref: str, access: GdalAccess | None = None) -> str:
    """What GDAL said, from the exception and its causes; without local paths, signatures and keys."""
    parts: list[str] = []
    current: BaseException | None = exc
    while current is not None:
        text = str(getattr(current, "errmsg", "") or current).strip().rstrip(".")
        if text and text not in parts and not text.startswith("Read failed. See previous"):
            parts.append(text)
        current = current.__cause__
    words = "; ".join(parts) or type(exc).__name__
    if access is not None:
        words = words.replace(access.path, ref).replace(access.path.rpartition("/")[2], ref.rpartition("/")[2])
        for secret in access.options.values():
            if len(secret) > 8:
                words = words.replace(secret, "***")
    return _QUERY.sub("", words)
