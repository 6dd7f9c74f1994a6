"""How a source is to be encoded: equal in every task of one COG, because it depends on the source and the job alone."""

from dataclasses import dataclass
from pathlib import Path

from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoetl.gdal.header import facts_of, nodata_value
from geoetl.gdal.windows import bytes_per_pixel
from geoetl.models.bigcog import SharedCog
from geoetl.models.raster import BlobFacts
from geoetl.tasks.raster.cog.layout import CogLayout
from geoetl.tasks.raster.cog.overviews import OverviewRule
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.template import CogTemplate, make_template
from geoetl.tasks.raster.cog.tiles import TileEncoder, tile_encoder
from geoetl.tasks.raster.profiles import CogProfile, choose_profile


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that turns pixels into tiles."""

    layout: CogLayout
    profile: CogProfile
    rule: OverviewRule
    encoder: TileEncoder
    template: CogTemplate
    has_mask: bool
    """Whether there is an internal mask."""

    def read(self, src: DatasetReader, window: Window) -> Pixels:
        """A window of the source, full resolution."""
        return Pixels(src.read(window=window), src.read_masks(1, window=window) if self.has_mask else None)


def make_recipe(
    src: DatasetReader, cog: SharedCog, *, scratch: Path, threads: int, verifies: bool = True, shrink: int = 0
) -> Recipe:
    """The recipe of a source that is open, with the job's CRS and nodata.

    Args:
        src: The source.
        cog: What every task of the COG knows.
        scratch: For a file that describes the source, for a moment.
        threads: For encoding.
        verifies: Whether tiles are read back as soon as they are encoded.
        shrink: Hold ``2**shrink`` times less at once; panels do not show in the file.

    Raises:
        BadData: ``profile-unsuitable`` or ``resampling-unsuitable``.
        SystemFault: ``unwritable``: GDAL cannot describe the COG.
    """
    facts = facts_of(src, BlobFacts(size_bytes=0, etag=cog.etag))
    profile = choose_profile(
        cog.profile,
        facts,
        cog.source,
        threads=threads,
        resampling=cog.resampling,
        has_nodata=nodata_value(cog.nodata) is not None or facts.mask_kind == "nodata",
    )
    layout = CogLayout(
        src.width,
        src.height,
        bytes_per_pixel=bytes_per_pixel(src),
        band_rows=cog.band_rows,
        is_striped=cog.is_striped,
        blocksize=cog.blocksize,
        chunk_bytes=cog.chunk_bytes >> shrink,
    )
    rule = _rule(src, profile)
    has_mask = rule.mask_kind == "internal"
    template = make_template(src, layout, profile, cog.source, scratch)
    encoder = tile_encoder(profile, src.dtypes[0], blocksize=cog.blocksize, template=template if verifies else None)
    return Recipe(layout, profile, rule, encoder, template, has_mask)


def _rule(src: DatasetReader, profile: CogProfile) -> OverviewRule:
    resampling = profile.overview_resampling
    if resampling != "nearest" and resampling != "average":  # noqa: PLR1714 - narrows the type
        raise ValueError(f"bands make no overviews by {resampling}")
    # GDAL asks the first band how all are masked. An alpha band counts as a mask in some rasters only.
    flags = src.mask_flag_enums[0]
    if MaskFlags.all_valid in flags:
        return OverviewRule(resampling)
    if MaskFlags.alpha in flags:
        alpha = src.colorinterp.index(ColorInterp.alpha)
        return OverviewRule(resampling, "alpha", alpha=alpha)
    if MaskFlags.nodata in flags:
        return OverviewRule(resampling, "nodata", nodata=src.nodata)
    return OverviewRule(resampling, "internal")
