"""How a COG is written: creation options by profile and by what the bands hold.

Every option is one of https://gdal.org/en/stable/drivers/raster/cog.html. To add a profile: a name in
``models.raster.ProfileName``, a row in ``_CODECS``, and, where it cannot hold every raster, a rule in
``gdal.compression``.
"""

from dataclasses import dataclass

from geoetl.errors import BadData
from geoetl.gdal.compression import LOSSY, is_categorical, is_complex, profile_problem, resampling_problem
from geoetl.models.raster import BandFacts, ProfileName, RasterFacts, ResamplingName

#: Pixels per side of a tile.
BLOCKSIZE = 512

#: Profile -> GDAL codec and level or quality. zstd 1 writes 2.7 times faster than zstd 9 for 13 % more bytes
#: (Sentinel-2 like data); for those who prefer the bytes there is deflate, which every reader ever made can read.
_CODECS: dict[ProfileName, dict[str, str]] = {
    "zstd": {"COMPRESS": "ZSTD", "LEVEL": "1"},
    "deflate": {"COMPRESS": "DEFLATE", "LEVEL": "6"},
    "lzw": {"COMPRESS": "LZW"},
    "lerc": {"COMPRESS": "LERC_ZSTD", "LEVEL": "1", "MAX_Z_ERROR": "0"},
    "webp": {"COMPRESS": "WEBP", "QUALITY": "85"},
    "jpeg": {"COMPRESS": "JPEG", "QUALITY": "85"},
    "raw": {"COMPRESS": "NONE"},
}
_PREDICTABLE_CODECS = {"ZSTD", "DEFLATE", "LZW"}


@dataclass(frozen=True, slots=True)
class CogProfile:
    """Everything the COG driver is told."""

    name: ProfileName
    """The profile that was used: never ``auto``."""
    options: dict[str, str]
    overview_resampling: ResamplingName
    warp_resampling: ResamplingName
    is_lossy: bool


def choose_profile(
    profile: ProfileName,
    facts: RasterFacts,
    ref: str,
    *,
    threads: int,
    resampling: ResamplingName | None = None,
    has_nodata: bool = False,
) -> CogProfile:
    """The creation options for one raster.

    Args:
        profile: As asked for; ``auto`` is lossless zstd, whatever the raster.
        facts: Of the source.
        ref: What messages call it.
        threads: For compression and overviews.
        resampling: As asked for, for overviews and warps; None chooses by data type.
        has_nodata: Whether the product has a nodata value.

    Raises:
        BadData: ``profile-unsuitable`` or ``resampling-unsuitable``: what was asked for does not fit this raster.
    """
    name: ProfileName = "zstd" if profile == "auto" else profile
    if problem := profile_problem(name, facts, has_nodata=has_nodata):
        raise BadData(
            f"Writing {ref} with profile {profile!r} is not possible: {problem}.",
            code="profile-unsuitable",
            hint="Use profile `auto`, which is lossless and holds every raster.",
        )
    if problem := resampling_problem(resampling, facts):
        raise BadData(
            f"Writing {ref} with resampling {resampling!r} is not possible: {problem}.",
            code="resampling-unsuitable",
            hint="Leave `resampling` out, or use one of those.",
        )
    codec = _CODECS[name]
    overviews = resampling or ("nearest" if is_categorical(facts) else "average")
    options = {
        **codec,
        "BLOCKSIZE": str(BLOCKSIZE),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": str(threads),
        # Overviews of the source may come from any resampling, or from other pixels.
        "OVERVIEWS": "IGNORE_EXISTING",
        # GDAL spells cubic_spline without the underscore.
        "OVERVIEW_RESAMPLING": overviews.replace("_", ""),
    }
    if codec["COMPRESS"] in _PREDICTABLE_CODECS:
        options["PREDICTOR"] = "YES" if _is_predictable(facts) else "NO"
    if bits := {band.bits for band in facts.bands if band.bits}:
        options["NBITS"] = str(max(bits))
    warps = resampling or ("nearest" if is_categorical(facts) else "bilinear")
    return CogProfile(name, options, overviews, warps, is_lossy=name in LOSSY)


def _is_predictable(facts: RasterFacts) -> bool:
    """Whether neighbouring values are close, and libtiff has a predictor for their type."""
    return all(_has_predictor(band) for band in facts.bands)


def _has_predictor(band: BandFacts) -> bool:
    # GDAL takes predictor 3 for float32 and float64 only; classes have no neighbours that are "close".
    return not (band.has_palette or band.bits or is_complex(band) or band.dtype == "float16")
