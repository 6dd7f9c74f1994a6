"""How one COG by many tasks compares with GDAL's COG driver and rio-cogeo: ``python -m benchmarks.raster [--quick]``.

Everything on local disk, so that transfers are no part of it. Runs are interleaved, medians are taken of three. Ours
decode every tile again and compare it, and gather statistics of every pixel; the others do neither.
"""

import argparse
import math
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from benchmarks.raster_runs import SOURCE, TARGET, Figures, finish, path_of, source_facts, start

BAND_ROWS = 4096
ROUNDS = 3


@dataclass(frozen=True)
class Raster:
    """A source to be made: noise on a wave, which compresses about as imagery does."""

    name: str
    dtype: str
    count: int
    decoded_bytes: int

    @property
    def side(self) -> int:
        return math.isqrt(self.decoded_bytes // self.count // np.dtype(self.dtype).itemsize)

    def write(self, path: Path) -> None:
        rng = np.random.default_rng(7)
        side = self.side + 11  # odd sizes: the costlier overviews
        profile = {
            "driver": "GTiff", "width": side, "height": side, "count": self.count, "dtype": self.dtype, "tiled": True,
            "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1, "interleave": "pixel",
            "crs": "EPSG:32633", "transform": from_origin(300_000, 5_000_000, 10, 10), "BIGTIFF": "IF_SAFER",
        }  # fmt: skip
        with rasterio.open(path, "w", num_threads=2, **profile) as dst:
            columns = np.sin(np.arange(side) / 700) * 2000 + 4000
            for top in range(0, side, 512):
                rows = min(512, side - top)
                wave = columns[None, :] + np.cos(np.arange(top, top + rows) / 900)[:, None] * 1500
                noise = rng.integers(0, 40, (self.count, rows, side), dtype=np.int16)
                values = (wave[None] + noise).astype(self.dtype)
                dst.write(values, window=rasterio.windows.Window(0, top, side, rows))


def run_all(folder: Path, bands: int) -> Iterator[tuple[str, Figures]]:
    """One round: every contender once."""
    yield "driver", finish(start(folder, kind="driver", threads=2))
    for workers in (1, 2):
        path_of(folder, TARGET).unlink(missing_ok=True)
        shares = [list(range(worker, bands, workers)) for worker in range(workers)]
        # As a worker is run: its CPUs are divided among its processes.
        processes = [start(folder, kind="bands", threads=1, band_rows=BAND_ROWS, bands=share) for share in shares]
        encoded = [finish(process) for process in processes]
        last = finish(start(folder, kind="assemble", threads=1, band_rows=BAND_ROWS, count=bands))
        yield (
            f"bands-{workers}",
            Figures(
                wall_s=max(one.wall_s for one in encoded) + last.wall_s,
                cpu_s=sum(one.cpu_s for one in encoded) + last.cpu_s,
                peak_rss_mb=max(one.peak_rss_mb for one in (*encoded, last)),
                moved_bytes=last.moved_bytes,
                size_bytes=path_of(folder, TARGET).stat().st_size,
            ),
        )
    yield "rio-cogeo", finish(start(folder, kind="rio-cogeo", threads=2))


def measure(raster: Raster, rounds: int) -> dict[str, Figures]:
    """Medians of every contender."""
    with tempfile.TemporaryDirectory(prefix="geoetl-bench-") as name:
        folder = Path(name)
        path = path_of(folder, SOURCE)
        path.parent.mkdir(parents=True)
        raster.write(path)
        bands = -(-source_facts(folder).height // BAND_ROWS)
        runs: dict[str, list[Figures]] = {}
        for number in range(rounds):
            for kind, figures in run_all(folder, bands):
                runs.setdefault(kind, []).append(figures)
                print(f"{raster.name:20} round {number + 1} {kind:10} {figures}", flush=True)
        is_same = (folder / "driver.tif").read_bytes() == path_of(folder, TARGET).read_bytes()
        print(f"{raster.name:20} {bands} bands; the same file as the driver's: {is_same}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return {kind: _median(figures) for kind, figures in runs.items()}


def _median(runs: list[Figures]) -> Figures:
    return Figures(
        *(
            statistics.median(getattr(run, field) for run in runs)
            for field in ("wall_s", "cpu_s", "peak_rss_mb", "moved_bytes", "size_bytes")
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small rasters, within six minutes")
    is_quick = parser.parse_args().quick
    sizes = [400 * 2**20] if is_quick else [2**30, 4 * 2**30]
    rasters = [
        raster
        for size in sizes
        for raster in (
            Raster(f"uint16 x 3, {size >> 20} MiB", "uint16", 3, size),
            Raster(f"float32, {size >> 20} MiB", "float32", 1, size),
        )
    ]
    medians = [measure(raster, ROUNDS) for raster in rasters]

    def ratio(one: str, other: str, field: str) -> float:
        return statistics.geometric_mean(getattr(each[one], field) / getattr(each[other], field) for each in medians)

    print(f"many_task_cpu_vs_gdal={ratio('bands-1', 'driver', 'cpu_s'):.3f}")
    print(f"many_task_wall_2_vs_1={ratio('bands-2', 'bands-1', 'wall_s'):.3f}")
    print(f"many_task_wall_vs_gdal={ratio('bands-2', 'driver', 'wall_s'):.3f}")
    print(f"many_task_peak_rss_mb={max(each['bands-2'].peak_rss_mb for each in medians):.0f}")
    moved = max(each["bands-2"].moved_bytes / each["bands-2"].size_bytes for each in medians)
    print(f"assemble_moved_share={moved:.4f}")
    print(f"cog_speed_vs_rio_cogeo={ratio('rio-cogeo', 'bands-2', 'wall_s'):.3f}")


if __name__ == "__main__":
    main()
