"""What a conversion takes, by data type and codec: ``python -m benchmarks.routing [--quick]``.

Each case is a process of its own that converts a raster of two sizes, on local disk, with one thread and the default
cache: peak memory, and decoded bytes a second of processor time, which a busy machine does not change. The last lines
are the constants of ``geoetl/chains/routing.py``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from geoetl.gdal.header import facts_of
from geoetl.models.bigcog import BandInput, SharedCog
from geoetl.models.raster import BlobFacts, ConvertInput
from geoetl.models.refs import BlobRef
from geoetl.resources.process_memory import peak_rss_bytes, reset_peak
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.convert import convert_raster
from tests.integration.raster.conftest import FolderStore, PlainContext

SOURCE, TARGET = BlobRef("bronze://bench/source.tif"), BlobRef("silver://bench/cog.tif")
MIB = 2**20
#: Bands and data type of the source, codec of the source, profile of the COG.
CASES = [
    (3, "uint8", "deflate", "zstd"), (3, "uint16", "deflate", "zstd"), (1, "float32", "deflate", "zstd"),
    (1, "float64", "deflate", "zstd"), (3, "uint16", "raw", "zstd"), (3, "uint16", "lzw", "zstd"),
    (3, "uint16", "deflate", "deflate"), (3, "uint16", "deflate", "lzw"), (1, "float32", "deflate", "lerc"),
    (3, "uint16", "deflate", "raw"), (3, "uint8", "deflate", "jpeg"), (3, "uint8", "deflate", "webp"),
]  # fmt: skip
QUICK = [CASES[1], CASES[2], CASES[6]]
CACHE_BYTES = 128 * MIB


@dataclass
class Figures:
    peak_bytes: int
    seconds: float


def write_source(path: Path, count: int, dtype: str, codec: str, side: int) -> None:
    """Noise of some bits on a gradient: compresses like a scene, not like a plain."""
    rng = np.random.default_rng(7)
    options = {} if codec == "raw" else {"compress": codec, "predictor": 3 if dtype.startswith("float") else 2}
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=count, dtype=dtype, crs="EPSG:32633", tiled=True,
        blockxsize=512, blockysize=512, transform=from_origin(5e5, 4.6e6, 10, 10), bigtiff="IF_SAFER", **options,
    ) as dst:  # fmt: skip
        for row in range(0, side, 512):
            rows = min(512, side - row)
            ramp = np.linspace(0, 180, side)[None, None, :] + rng.integers(0, 40, (count, rows, side))
            dst.write(ramp.astype(dtype), window=rasterio.windows.Window(0, row, side, rows))


def run(kind: str, folder: Path, profile: str) -> Figures:
    """One task, in this process."""
    store = FolderStore(folder / "blobs")
    scratch = folder / f"scratch-{time.monotonic_ns()}"
    scratch.mkdir()
    ctx = PlainContext(store=store, scratch=scratch, threads=1, cache_bytes=CACHE_BYTES)
    blob = store.properties(SOURCE)
    with rasterio.open(store.path(SOURCE)) as src:
        facts = facts_of(src, BlobFacts(size_bytes=blob.size_bytes, etag=blob.etag))
    reset_peak()
    began = time.process_time()
    if kind == "convert":
        given = ConvertInput(source=SOURCE, etag=blob.etag, target=TARGET, facts=facts, profile=profile)
        convert_raster(given, ctx)
    else:
        cog = SharedCog(source=SOURCE, etag=blob.etag, target=TARGET, band_rows=4096, is_striped=False, profile=profile)
        encode_band(BandInput(cog=cog, band=0), ctx)
    return Figures(peak_rss_bytes(), time.process_time() - began)


def in_process(kind: str, folder: Path, profile: str) -> Figures:
    """The same in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.routing", "--run", kind, str(folder), profile]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def measure(case: tuple[int, str, str, str], sides: list[int]) -> tuple[int, list[float], list[tuple[int, int]]]:
    """Peak of a band task; decoded bytes a second and (decoded bytes, peak) of a conversion, by size."""
    count, dtype, codec, profile = case
    speeds: list[float] = []
    peaks: list[tuple[int, int]] = []
    band_peak = 0
    for side in sides:
        with tempfile.TemporaryDirectory(prefix="geoetl-bench-") as name:
            folder = Path(name)
            path = FolderStore(folder / "blobs").path(SOURCE)
            path.parent.mkdir(parents=True)
            write_source(path, count, dtype, codec, side)
            decoded = side * side * count * np.dtype(dtype).itemsize
            made = in_process("convert", folder, profile)
            speeds.append(decoded / made.seconds)
            peaks.append((decoded, made.peak_bytes))
            if profile not in {"jpeg", "webp"}:
                band_peak = max(band_peak, in_process("band", folder, profile).peak_bytes)
    figures = zip(peaks, speeds, strict=True)
    converted = ", ".join(f"{peak / MIB:4.0f} MiB {speed / MIB:4.0f} MiB/s" for (_, peak), speed in figures)
    what = f"{count} x {dtype:8} {codec:8} -> {profile:8} {peaks[-1][0] / MIB:6.0f} MiB"
    print(f"{what}: convert {converted}; band {band_peak / MIB:4.0f} MiB", flush=True)
    return band_peak, speeds, peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three cases of small rasters: about a minute")
    parser.add_argument("--run", nargs=3, metavar=("KIND", "FOLDER", "PROFILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(asdict(run(given.run[0], Path(given.run[1]), given.run[2]))))
        return
    sides = [2048, 4096] if given.quick else [4096, 6144]
    measured = {case: measure(case, sides) for case in (QUICK if given.quick else CASES)}
    by_profile: dict[str, list[float]] = {}
    growths: list[float] = []
    for (*_, profile), (_, speeds, peaks) in measured.items():
        by_profile.setdefault(profile, []).append(speeds[-1])
        growths += [(more[1] - less[1]) / (more[0] - less[0]) for less, more in pairwise(peaks)]
    most = max(peak for _, _, peaks in measured.values() for _, peak in peaks)
    print(f"convert_memory_beside_cache_mib={(most - CACHE_BYTES) / MIB:.0f}")
    print(f"convert_memory_per_decoded_byte={statistics.median(growths):.4f}")
    print(f"band_memory_mib={max(peak for peak, _, _ in measured.values()) / MIB:.0f}")
    for profile, speeds in by_profile.items():
        print(f"{profile}_mib_per_s={min(speeds) / MIB:.0f}")


if __name__ == "__main__":
    main()
