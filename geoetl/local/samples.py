"""Five real GeoTIFFs to try things on, fetched once from a package that ships them."""

import datetime as dt
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from geoetl.local.processes import StartFailed

_LOCK = "samples.lock"
_INSIDE = Path("localtileserver/tiler/data")
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Sample:
    """One file."""

    name: str
    about: str


SAMPLES = (
    Sample("landsat.tif", "Landsat, 7 bands of uint8, EPSG:4326"),
    Sample("landsat7.tif", "Landsat 7, RGB of uint8, EPSG:3857, nodata 0"),
    Sample("bahamas_rgb.tif", "Bahamas, RGB of uint8, EPSG:32618, nodata 0"),
    Sample("co_elevation_roi.tif", "Elevation in Colorado, float32, EPSG:4269"),
    Sample("srtm90.tif", "SRTM elevation, int16, EPSG:4326: the largest"),
)

#: The files do not say when they were acquired, and nobody shall guess: between the launch of Landsat 7 and the
#: release of the package.
ACQUIRED_AFTER = dt.datetime(1999, 4, 15, tzinfo=dt.UTC)
ACQUIRED_BEFORE = dt.datetime(2026, 4, 24, tzinfo=dt.UTC)


def fetch_samples(folder: Path) -> list[Path]:
    """The files, in the order of ``SAMPLES``; downloaded (34 MB, checked by hash) where they are not in ``folder``.

    Raises:
        StartFailed: The package cannot be fetched.
    """
    paths = [folder / sample.name for sample in SAMPLES]
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        _unpack(Path(unpacked))
        for path in paths:
            shutil.move(Path(unpacked) / _INSIDE / path.name, path)
    return paths


def _unpack(target: Path) -> None:
    with as_file(files("geoetl.local") / _LOCK) as lock:
        command = [
            sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes",
            "--python", sys.executable, "--target", str(target), "--requirements", str(lock),
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise StartFailed(f"Fetching the sample rasters took longer than {_TIMEOUT_S} s.") from exc
    if done.returncode != 0:
        raise StartFailed(
            f"Fetching the sample rasters failed: {done.stderr.strip()[-500:]}",
            hint="They come from the Python package index, so that must be reachable.",
        )
