"""The one place where GDAL is configured. Nothing is set process-wide: settings live as long as the ``with`` block."""

from collections.abc import Mapping
from typing import Any

import rasterio

#: GDAL's block cache in BYTES: ``rasterio.Env`` takes bytes, where the variable of the shell means megabytes.
#: 128 MB is as fast as the default (5 % of RAM) for the COG driver and keeps four tasks on a 4 GB worker.
CACHE_BYTES = 128 * 1024 * 1024

#: What is true for every file that is opened, whoever sent it.
_HARDENING: dict[str, str | int | bool] = {
    # No sidecar files: what is beside a blob (.aux.xml, .ovr, .msk, .tfw) was not checked, and is no part of it.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": False,
    # A warning of libjpeg means lost pixels ("premature end of JPEG file"): an error, like in every other codec.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    "GTIFF_IGNORE_READ_ERRORS": False,
    # A VRT may carry Python code; none of ours does, and no other VRT is opened.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    # Masks belong into the file (GDAL writes a .msk beside it otherwise).
    "GDAL_TIFF_INTERNAL_MASK": True,
}

#: Reads over the network: bounded, and retried inside GDAL for what passes (429, 5xx, resets). GDAL cannot refresh
#: its access, so nothing may hang for longer than a signature lives.
_NETWORK: dict[str, str | int | bool] = {
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": True,
    # One request takes the header and the first IFDs of nearly every COG.
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "CPL_VSIL_CURL_CACHE_SIZE": 16 * 1024 * 1024,
    # The cache is keyed by path, not by ETag: a replaced blob must not be read from memory.
    "CPL_VSIL_CURL_NON_CACHED": "/vsiaz/:/vsicurl/",
}


def gdal_env(
    access_options: Mapping[str, str] | None = None, *, threads: int = 1, cache_bytes: int = CACHE_BYTES
) -> rasterio.Env:
    """Settings for a block of GDAL work, to be entered with ``with``.

    Args:
        access_options: How to reach the storage (``GdalAccess.options``); forgotten when the block ends.
        threads: For decoding, encoding and warping.
        cache_bytes: Of GDAL's block cache, which the process keeps full once it was.
    """
    options: dict[str, Any] = {
        **_HARDENING,
        **_NETWORK,
        **(access_options or {}),
        "GDAL_NUM_THREADS": str(threads),
        "GDAL_CACHEMAX": cache_bytes,
    }
    return rasterio.Env(session=None, **options)
