"""Make one COG of one source: fetch, write, validate, upload."""

from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio.io import DatasetReader

from geoetl.errors import SystemFault
from geoetl.gdal.bands import bands_problem, is_striped
from geoetl.gdal.footprint import footprint
from geoetl.gdal.header import nodata_value, read_facts
from geoetl.gdal.open import gdal_errors, open_raster
from geoetl.gdal.sources import driver_of, open_source
from geoetl.models.bigcog import SharedCog
from geoetl.models.raster import BlobFacts, CogProduct, ConvertInput, RasterFacts
from geoetl.models.refs import BlobRef
from geoetl.resources.process_memory import peak_rss_bytes
from geoetl.storage.base import BlobExists, BlobProperties, GdalAccess
from geoetl.storage.paths import attempt_ref, thumbnail_ref
from geoetl.tasks.context import TaskContext
from geoetl.tasks.raster.cog.whole import WHOLE_BAND_ROWS, WrittenCog, encode_cog
from geoetl.tasks.raster.profiles import CogProfile, choose_profile
from geoetl.tasks.raster.thumbnail import thumbnail_png
from geoetl.tasks.raster.validate import validate_cog
from geoetl.tasks.raster.warp import warp_to
from geoetl.tasks.raster.workspace import fetch_source, sha256_of, written_to_scratch

COG_CONTENT_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
#: Room for a COG that does not compress at all, with its overviews (one third).
_COG_BYTES_PER_DECODED_BYTE = 1.35
#: Room for a lossless COG of a source that is compressed lossily, 10 to 1; most sources need far less.
_COG_BYTES_PER_SOURCE_BYTE = 8


def convert_raster(task: ConvertInput, ctx: TaskContext) -> CogProduct:
    """Write, check and upload the COG of one source.

    Raises:
        BadData: ``source-changed``, ``unreadable-raster``, ``profile-unsuitable``, ``unwarpable``.
        InvalidInput: The CRS or the nodata value asked for cannot be.
        SystemFault: ``cog-differs``: what was written is not what it should be.
        TransientError: ``scratch-full``, or the storage is away.
    """
    path, _ = fetch_source(task.source, task.etag, ctx, more_bytes=room_bytes(task))
    profile = profile_of(task, ctx)
    cog = ctx.scratch / "cog.tif"
    with open_source(
        path,
        task.source,
        source_crs=task.source_crs,
        nodata=nodata_value(task.nodata),
        threads=ctx.threads,
        cache_bytes=ctx.cache_bytes,
    ) as src:
        if task.target_crs is None:
            problem = _bands_problem(task, path)
            ctx.log.info("cog is written", source=task.source, by=f"GDAL: {problem}" if problem else "bands")
            checks = write_cog(src, cog, profile, task.source, ctx, shared=None if problem else _shared_cog(task))
        else:
            warped = ctx.scratch / "warped.tif"
            warp_to(src, warped, task.target_crs, task.source, ctx, resampling=profile.warp_resampling)
            with open_raster(
                GdalAccess(str(warped), {}), task.source, threads=ctx.threads, cache_bytes=ctx.cache_bytes
            ) as intermediate:
                checks = write_cog(intermediate, cog, profile, task.source, ctx)
            warped.unlink()
    path.unlink()
    return upload_cog(task, cog, profile, checks, ctx)


def profile_of(task: ConvertInput, ctx: TaskContext) -> CogProfile:
    """How the COG is to be written.

    Raises:
        BadData: ``profile-unsuitable`` or ``resampling-unsuitable``.
    """
    return choose_profile(
        task.profile,
        task.facts,
        task.source,
        threads=ctx.threads,
        resampling=task.resampling,
        has_nodata=task.nodata is not None or task.facts.mask_kind == "nodata",
    )


def room_bytes(task: ConvertInput) -> int:
    """Scratch that the COG may need and its tiles before it, and as much for a reprojected intermediate file."""
    decoded, source = task.facts.decoded_bytes, task.facts.blob.size_bytes
    cog = min(int(decoded * _COG_BYTES_PER_DECODED_BYTE), source * _COG_BYTES_PER_SOURCE_BYTE)
    return cog * (3 if task.target_crs else 2)


def _bands_problem(task: ConvertInput, path: Path) -> str | None:
    """Why GDAL's COG driver must write it; None where our own code writes the same file, with less work."""
    facts = task.facts
    if task.nodata is not None:
        # The question is what the file has by itself.
        facts = read_facts(GdalAccess(str(path), {}), facts.blob, task.source, driver=driver_of(path, task.source))
    return bands_problem(
        facts,
        profile=task.profile,
        resampling=task.resampling,
        target_crs=task.target_crs,
        nodata=task.nodata,
    )


def write_cog(
    src: DatasetReader,
    cog: Path,
    profile: CogProfile,
    ref: str,
    ctx: TaskContext,
    *,
    shared: SharedCog | None = None,
) -> dict[str, bool]:
    """Write the COG of an open raster and validate it; the checks by name. Without ``shared`` GDAL's driver writes."""
    ctx.checkpoint()
    written: WrittenCog | None = None
    with (
        written_to_scratch(ref),
        gdal_errors(ref, "Writing the COG of", code="unwritable", error=SystemFault),
    ):
        if shared is not None:
            written = encode_cog(src, shared, cog, ctx)
        else:
            rasterio.shutil.copy(src, str(cog), driver="COG", **profile.options)
    ctx.checkpoint()
    return validate_cog(cog, src, ref, ctx, is_lossy=profile.is_lossy, written=written)


def _shared_cog(task: ConvertInput) -> SharedCog:
    return SharedCog(
        source=task.source,
        etag=task.etag,
        target=task.target,
        band_rows=WHOLE_BAND_ROWS,
        is_striped=is_striped(task.facts),
        source_crs=task.source_crs,
        profile=task.profile,
        resampling=task.resampling,
        nodata=task.nodata,
    )


def upload_cog(
    task: ConvertInput, cog: Path, profile: CogProfile, checks: dict[str, bool], ctx: TaskContext
) -> CogProduct:
    """Upload a COG that was checked, and its thumbnail; the file is removed."""
    target = attempt_ref(task.target, ctx.token.attempt)
    size_bytes, digest = cog.stat().st_size, sha256_of(cog)
    facts = read_facts(GdalAccess(str(cog), {}), BlobFacts(size_bytes=size_bytes, etag=""), target)
    outline = footprint(facts, task.source)
    thumbnail = thumbnail_png(GdalAccess(str(cog), {}), target)
    ctx.checkpoint()
    beside = thumbnail_ref(target)
    put_once(ctx, beside, thumbnail, "image/png", {})
    provenance = {"sha256": digest, "run": ctx.run_id, "source_etag": task.etag}
    stored = put_once(ctx, target, cog, COG_CONTENT_TYPE, provenance)
    ctx.log.info("cog uploaded", source=task.source, cog=target, size_bytes=size_bytes, profile=profile.name)
    cog.unlink()
    return CogProduct(
        source=task.source,
        cog=target,
        thumbnail=beside,
        etag=stored.etag,
        size_bytes=size_bytes,
        sha256=digest,
        facts=_with_blob(facts, stored),
        footprint=outline.geometry,
        bbox=outline.bbox,
        profile=profile.name,
        overview_resampling=profile.overview_resampling,
        is_reprojected=task.target_crs is not None,
        software={"GDAL": rasterio.__gdal_version__, "rasterio": rasterio.__version__},
        checks=checks,
        peak_rss_bytes=peak_rss_bytes(),
    )


def put_once(
    ctx: TaskContext, ref: BlobRef, content: Path | bytes, content_type: str, metadata: dict[str, str]
) -> BlobProperties:
    """Write a blob where there is none. One that is there already must be this upload, whose answer was lost."""
    try:
        return ctx.store.upload(ref, content, content_type=content_type, metadata=metadata)
    except BlobExists as exc:
        found = ctx.store.properties(ref)
        size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
        if found.size_bytes == size_bytes and found.metadata.get("sha256") == metadata.get("sha256"):
            return found
        raise SystemFault(
            f"Uploading {ref} failed: another blob of {found.size_bytes:,} bytes is there (ETag {found.etag}), and "
            f"products are never overwritten.",
            code="target-exists",
            hint="A path names its run and attempt, so this should not happen. Run the job again with force.",
        ) from exc


def _with_blob(facts: RasterFacts, stored: BlobProperties) -> RasterFacts:
    blob = BlobFacts(
        size_bytes=stored.size_bytes,
        etag=stored.etag,
        content_type=stored.content_type,
        last_modified=stored.last_modified,
    )
    return facts.model_copy(update={"blob": blob})
