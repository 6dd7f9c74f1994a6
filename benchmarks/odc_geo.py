"""odc-geo as a contender: COGs by dask, each tile a task (https://odc-geo.readthedocs.io).

Needs the dependency group ``bench``. It fills rasters up to whole pixels of the smallest overview, and so writes a few
more than the others where sides are odd.
"""

from importlib.util import find_spec
from pathlib import Path

_PARTS = ("odc", "dask", "rioxarray", "imagecodecs")
#: Pixels per side of what dask reads at once: larger pieces were faster, and took as much memory.
_CHUNK = 2048


def problem() -> str | None:
    """Why it cannot run here."""
    if missing := [name for name in _PARTS if find_spec(name) is None]:
        return f"{', '.join(missing)} not installed; `uv pip install --group bench` installs it"
    return None


def write_cog(source: Path, cog: Path, threads: int) -> None:
    """With the codec, tiles and resampling of the others; without statistics."""
    # Only where they are installed.
    import dask  # noqa: PLC0415
    import odc.geo.xr  # noqa: F401, PLC0415 - adds the accessor that the writer uses
    import rioxarray  # noqa: PLC0415
    from odc.geo.cog import save_cog_with_dask  # noqa: PLC0415

    pixels = rioxarray.open_rasterio(source, chunks={"band": -1, "y": _CHUNK, "x": _CHUNK}, lock=False)
    pixels = pixels.isel(band=0, drop=True) if pixels.sizes["band"] == 1 else pixels.transpose("y", "x", "band")
    writing = save_cog_with_dask(
        pixels, cog, compression="zstd", level=1, predictor=True, blocksize=[512, 512],
        overview_resampling="average", stats=False,
    )  # fmt: skip
    with dask.config.set(scheduler="threads", num_workers=threads):
        writing.compute()
