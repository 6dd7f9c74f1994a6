"""Which rasters may be encoded band by band, so that the result is the very file GDAL's COG driver would write."""

from geoetl.gdal.compression import LOSSY, is_categorical, is_complex
from geoetl.gdal.header import has_wide_nodata
from geoetl.models.raster import ProfileName, RasterFacts, ResamplingName

#: Rows of one tile of the COG: what a task holds of a source at least.
_TILE_ROWS = 512
#: A source whose blocks reach over its whole width is read in whole rows of tiles; more than this is too much to hold.
_MAX_ROW_BYTES = 96 * 1024 * 1024


def bands_problem(
    facts: RasterFacts,
    *,
    profile: ProfileName,
    resampling: ResamplingName | None,
    target_crs: str | None,
    nodata: float | str | None,
) -> str | None:
    """Why one task must convert a raster with GDAL's COG driver, as the end of a sentence; None where many can.

    Args:
        facts: Of the source as it is, without what the job says about it.
        profile: As asked for in the job.
        resampling: As asked for in the job.
        target_crs: As asked for in the job.
        nodata: As asked for in the job; else the file's own counts.
    """
    overviews = resampling or ("nearest" if is_categorical(facts) else "average")
    has_mask = facts.mask_kind in {"alpha", "internal"}
    has_nodata = nodata is not None or any(band.nodata is not None for band in facts.bands)
    problems = {
        "it is reprojected": target_crs is not None,
        f"{profile} is lossy": profile in LOSSY,
        f"{facts.driver} files are decoded as a whole": facts.driver != "GTiff",
        f"overviews by {overviews} are GDAL's": overviews not in {"nearest", "average"},
        "its values are complex": any(is_complex(band) for band in facts.bands),
        "overviews of float16 are GDAL's": any(band.dtype == "float16" for band in facts.bands),
        "overviews of floats of fewer bits are GDAL's": any(
            band.bits and "float" in band.dtype for band in facts.bands
        ),
        "averages of a palette are GDAL's": overviews == "average" and any(band.has_palette for band in facts.bands),
        "it has a nodata value and a mask": has_mask and has_nodata,
        "64-bit nodata beyond 2**53 is GDAL's": nodata is None and has_wide_nodata(facts),
        "overviews of an alpha band before all others are GDAL's": facts.bands[0].color_interpretation == "alpha",
        "LERC with alpha is GDAL's": profile == "lerc" and facts.mask_kind == "alpha",
        "it is very narrow": _is_narrow(facts),
        "its blocks are whole rows, and too wide": is_striped(facts) and _row_bytes(facts) > _MAX_ROW_BYTES,
    }
    return next((problem for problem, is_there in problems.items() if is_there), None)


def is_striped(facts: RasterFacts) -> bool:
    """Whether a block reaches over the whole width, so that reading some columns decodes all."""
    return facts.block_shape[1] >= facts.width


def _row_bytes(facts: RasterFacts) -> int:
    return facts.decoded_bytes // facts.height * _TILE_ROWS


def _is_narrow(facts: RasterFacts) -> bool:
    """Whether widths come down to one pixel: GDAL makes the overviews that follow of the full resolution."""
    width, height = facts.width, facts.height
    while max(width, height) > _TILE_ROWS:
        if width == 1:
            return True
        width, height = width // 2, max(1, height // 2)
    return False
