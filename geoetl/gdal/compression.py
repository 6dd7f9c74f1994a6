"""Which profile and resampling fit which raster. The creation options are in ``tasks/raster/profiles.py``."""

from geoetl.models.raster import BandFacts, ProfileName, RasterFacts, ResamplingName

_LERC_DTYPES = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"}

_WANTED = {"jpeg": "1 band, or red, green and blue, without alpha", "webp": "3 bands, or 3 and alpha"}

#: Resampling by a weighted neighbourhood, which GDAL has for real numbers only.
_KERNELS: frozenset[ResamplingName] = frozenset({"bilinear", "cubic", "cubic_spline", "lanczos"})

#: Profiles that change pixel values; used only when asked for by name.
LOSSY: frozenset[ProfileName] = frozenset({"jpeg", "webp"})


def is_complex(band: BandFacts) -> bool:
    """Whether values have an imaginary part, and so no order."""
    return band.dtype.startswith(("complex", "cint"))


def is_categorical(facts: RasterFacts) -> bool:
    """Whether values must not be blended: classes, flags, and complex numbers, whose average cancels out."""
    return any(band.has_palette or band.bits == 1 or is_complex(band) for band in facts.bands)


def profile_problem(profile: ProfileName, facts: RasterFacts, *, has_nodata: bool) -> str | None:
    """Why this profile cannot hold this raster, as the end of a sentence; None where it can.

    Args:
        profile: As asked for in the job.
        facts: Of the source.
        has_nodata: Whether the product has a nodata value, from the file or the job.
    """
    has_odd_bits = any(band.bits for band in facts.bands)
    dtypes = {band.dtype for band in facts.bands}
    if profile == "lerc" and (has_odd_bits or not dtypes <= _LERC_DTYPES):
        return f"LERC holds 8 to 32-bit integers, float32 and float64, and the bands are {_described(facts)}"
    if profile not in LOSSY:
        return None
    name = profile.upper()
    count = len(facts.bands)
    colors = [band.color_interpretation for band in facts.bands]
    wanted = {"jpeg": {(1, False), (3, False)}, "webp": {(3, False), (4, True)}}[profile]
    problems = {
        f"{name} holds 8-bit bands, and the bands are {_described(facts)}": has_odd_bits or dtypes != {"uint8"},
        f"{name} blends neighbouring values, and the values of a palette are classes": any(
            band.has_palette for band in facts.bands
        ),
        f"{name} blends neighbouring values, and with them the nodata value": has_nodata,
        f"{name} holds {_WANTED[profile]}, and there are {count}{_with_alpha(facts)}": (
            (count, facts.mask_kind == "alpha") not in wanted
        ),
        # GDAL's COG driver makes YCbCr of three bands, which any reader takes for red, green and blue.
        f"{name} holds {_WANTED[profile]}, and the bands are {', '.join(colors)}": (
            profile == "jpeg" and count == 3 and colors != ["red", "green", "blue"]
        ),
    }
    return next((problem for problem, is_there in problems.items() if is_there), None)


def resampling_problem(resampling: ResamplingName | None, facts: RasterFacts) -> str | None:
    """Why overviews of this raster cannot be made this way, as the end of a sentence; None where they can."""
    if resampling in _KERNELS and any(is_complex(band) for band in facts.bands):
        return "GDAL makes overviews of complex bands by nearest, average, mode and rms only"
    return None


def _described(facts: RasterFacts) -> str:
    return ", ".join(sorted({f"{b.bits}-bit" if b.bits else b.dtype for b in facts.bands}))


def _with_alpha(facts: RasterFacts) -> str:
    return " with alpha" if facts.mask_kind == "alpha" else ""
