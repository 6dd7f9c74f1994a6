"""Checks of a raster source before a job is accepted: from its header alone, all findings at once.

Here is what needs the store; ``raster_rules.py`` judges what was found.
"""

from geoetl.errors import BadData, Finding, GeoEtlError
from geoetl.gdal.formats import HEAD_BYTES, sniff
from geoetl.gdal.header import read_facts
from geoetl.gdal.layout import check_tiff_layout
from geoetl.models.raster import BlobFacts, RasterFacts
from geoetl.models.refs import BlobRef
from geoetl.preflight.blobs import check_blob
from geoetl.preflight.raster_rules import RasterOptions, check_facts
from geoetl.storage.base import BlobChanged, BlobNotFound, BlobStore

#: How long GDAL may take to read one header.
_ACCESS_LIFE_S = 300


def check_raster(
    store: BlobStore, ref: BlobRef, *, parameter: str, options: RasterOptions, max_bytes: int, min_bytes: int = 1
) -> tuple[RasterFacts | None, list[Finding]]:
    """Check one source; a few small reads, whatever its size.

    Args:
        store: Where it is.
        ref: The source.
        parameter: Path of the parameter that names it, for example ``sources[3]``.
        options: What the job says about it.
        max_bytes: Size of the largest source that is accepted.
        min_bytes: Size of the smallest; an empty one never is.

    Returns:
        The facts where the header could be read, as the file has them (``source_crs`` is not applied), and all
        findings; the source is accepted when none of them is an error.

    Raises:
        TransientError: The storage is away; nothing is known about the source.
    """
    try:
        blob, wrong_size = check_blob(store, ref, parameter=parameter, min_bytes=max(1, min_bytes), max_bytes=max_bytes)
    except BlobNotFound as exc:
        return None, [_finding(exc, parameter)]
    findings = [wrong_size] if wrong_size else []
    if blob.size_bytes == 0:
        return None, findings
    try:
        facts = _read_header(store, ref, blob)
    except (BadData, BlobChanged, BlobNotFound) as exc:
        return None, [*findings, _finding(exc, parameter)]
    findings += [f.model_copy(update={"parameter": parameter}) for f in check_facts(facts, ref, options)]
    return facts, findings


def _finding(error: GeoEtlError, parameter: str) -> Finding:
    return Finding(code=error.code, message=error.message, hint=error.hint, parameter=parameter)


def _read_header(store: BlobStore, ref: BlobRef, blob: BlobFacts) -> RasterFacts:
    found = sniff(store.read_range(ref, offset=0, length=HEAD_BYTES, etag=blob.etag))
    if found.driver is None:
        if found.points_elsewhere:
            raise BadData(
                f"Opening {ref} found {found.name}: it holds no pixels, but points to other files or addresses.",
                code="points-elsewhere",
                hint="Deliver the pixels themselves: gdal_translate it to a GeoTIFF first.",
            )
        raise BadData(
            f"Opening {ref} as a raster failed: its content is {found.name}, whatever its name says.",
            code="not-a-raster" if found.is_text or "known here" in found.name else "unsupported-format",
            hint="Accepted are GeoTIFF (COG, BigTIFF) and JPEG 2000.",
        )
    if found.driver == "GTiff":
        problem = check_tiff_layout(
            lambda offset, length: store.read_range(ref, offset=offset, length=length, etag=blob.etag), blob.size_bytes
        )
        if problem:
            raise BadData(
                f"Checking the layout of {ref} found it truncated or damaged: {problem.found}.",
                code="truncated",
                hint="Upload the file again, whole.",
            )
    access = store.gdal_access(ref, life_s=_ACCESS_LIFE_S)
    return read_facts(access, blob, ref, driver=found.driver)
