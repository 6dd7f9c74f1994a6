"""Whole jobs on an embedded stack: PostgreSQL, Azurite, the Service Bus emulator and real workers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from benchmarks.raster_runs import Figures, added
from geoetl.chains.process_raster import ProcessRaster
from geoetl.config.settings import load_settings
from geoetl.engine.services import Services
from geoetl.gdal.env import gdal_env
from geoetl.local.stack import Stack
from geoetl.models.bigcog import AssembledCog
from geoetl.models.raster import CogProduct
from geoetl.models.refs import BlobRef
from geoetl.worker.app import create_app
from geoetl.worker.client import Job, submit

#: What a process of a worker may hold, whatever the raster.
MAX_RSS_MB = 500
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Platform:
    """A stack of its own, with one worker for both queues."""

    services: Services
    worker: subprocess.Popen[bytes]
    figures: Path

    def put(self, path: Path, name: str) -> BlobRef:
        ref = BlobRef.of("bronze", "bronze", name)
        self.services.store.upload(ref, path, content_type="image/tiff", overwrite=True)
        return ref

    def run(self, source: BlobRef, *, timeout_s: float = 7200) -> tuple[Job, Figures]:
        """Submit one source, wait for its item: the whole time, and CPU time of the worker's processes."""
        for old in self.figures.iterdir():
            old.unlink()
        spec = ProcessRaster(
            sources=(source,), collection="benchmark", create_collection=True, datetime="2024-05-01T00:00:00Z"
        )
        used, began = self._cpu_s(), time.perf_counter()
        job = submit(spec, services=self.services, force=True)
        job.wait(timeout_s=timeout_s)
        wall_s = time.perf_counter() - began
        apart = [json.loads(path.read_text()) for path in self.figures.iterdir()]
        results = [task.result or {} for task in job.tasks()]
        return job, Figures(
            wall_s=wall_s,
            cpu_s=self._cpu_s() - used,
            peak_rss_mb=max(_peak_rss_bytes(result) for result in results) / 2**20,
            moved_bytes=sum(one["moved_bytes"] for one in apart),
            apart_wall_s=added([one["apart_wall_s"] for one in apart]),
            apart_cpu_s=added([one["apart_cpu_s"] for one in apart]),
        )

    def _cpu_s(self) -> float:
        """Of the worker, its children, and the children it had."""
        children = Path(f"/proc/{self.worker.pid}/task/{self.worker.pid}/children").read_text().split()
        total = 0
        for pid in (self.worker.pid, *map(int, children)):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
        return total / _TICKS_PER_S


def _peak_rss_bytes(result: Mapping[str, object]) -> int:
    product = result.get("product")
    found = product.get("peak_rss_bytes") if isinstance(product, dict) else result.get("peak_rss_bytes")
    return found if isinstance(found, int) else 0


@contextmanager
def platform(home: Path, *, concurrency: int, environ: Mapping[str, str] | None = None) -> Generator[Platform]:
    """Start everything in ``home``; nothing is left of it afterwards."""
    stack = Stack(home)
    figures = home / "figures"
    figures.mkdir(parents=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GEOETL_")}
    env = {
        **inherited, "GEOETL_HOME": str(home), "GEOETL_WORKER__CONCURRENCY": str(concurrency),
        "GEOETL_RASTER__SCRATCH_DIR": str(home), "BENCHMARK_FIGURES": str(figures),
        "PYTHONPATH": str(Path(__file__).parents[1]), **(environ or {}),
    }  # fmt: skip
    try:
        stack.up()
        services = create_app(load_settings(env, cwd=home)).services
        worker = _start_worker(env, home / "worker.log", concurrency)
        try:
            yield Platform(services, worker, figures)
        finally:
            worker.terminate()
            worker.wait(60)
            services.close()
    finally:
        stack.reset()


def _start_worker(env: Mapping[str, str], log: Path, concurrency: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "celery", "-A", "benchmarks.raster_worker", "worker", "-Q", "standard,gdal",
        "-n", "benchmark@%h", "--concurrency", str(concurrency), "--loglevel", "INFO",
    ]  # fmt: skip
    with log.open("wb") as out:
        worker = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    until = time.monotonic() + 60
    while b" ready." not in log.read_bytes():
        if time.monotonic() > until or worker.poll() is not None:
            worker.kill()
            raise SystemExit(f"the worker did not come up:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
    return worker


def write_noise(path: Path, side: int) -> None:
    """A raster of bytes that no codec makes smaller, ``side`` a multiple of 512; cheap to write."""
    rows = np.random.default_rng(7).integers(0, 256, (1, 512, side), dtype=np.uint8)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "tiled": True,
        "blockxsize": 512, "blockysize": 512, "crs": "EPSG:32633", "transform": from_origin(300_000, 9_000_000, 1, 1),
        "BIGTIFF": "YES",
    }  # fmt: skip
    with gdal_env(), rasterio.open(path, "w", **profile) as dst:
        for top in range(0, side, 512):
            # No two rows of tiles are equal: equal blocks would be stored once.
            dst.write(np.roll(rows, top // 512, axis=2), window=Window(0, top, side, 512))


def run_huge(folder: Path, side: int) -> None:
    """A COG of more than 4 GiB (BigTIFF) and more than 5 GiB through a whole job; prints its figures."""
    source = folder / "noise.tif"
    write_noise(source, side)
    limits = {"GEOETL_RASTER__BANDS_THRESHOLD_BYTES": str(2**30)}
    with platform(folder / "stack", concurrency=2, environ=limits) as stack:
        ref = stack.put(source, "noise.tif")
        with rasterio.open(source) as src:
            middle = Window(side // 2 - 300, side // 2 - 300, 700, 700)
            expected = src.read(window=middle)
        source.unlink()
        job, figures = stack.run(ref)
        made = next(AssembledCog.model_validate(t.result) for t in job.tasks() if t.name == "raster.assemble")
        check_huge(stack, made.product, middle, expected)
        bands = sum(task.name == "raster.encode_band" for task in job.tasks())
    print(f"huge: {side} x {side} bytes of noise, {bands} bands: {figures}")
    print(f"huge_cog_gib={made.product.size_bytes / 2**30:.2f}")
    print(f"huge_wall_s={figures.wall_s:.0f}")
    print(f"huge_peak_rss_mb={figures.peak_rss_mb:.0f}")
    if figures.peak_rss_mb > MAX_RSS_MB:
        raise SystemExit(f"a process held {figures.peak_rss_mb:.0f} MB; {MAX_RSS_MB} MB are allowed")


def check_huge(stack: Platform, product: CogProduct, window: Window, expected: np.ndarray) -> None:
    """That it is a BigTIFF over 5 GiB whose pixels can be read where they should be."""
    head = stack.services.store.read_range(product.cog, offset=0, length=4)
    if head != b"II+\0" or product.size_bytes <= 5 * 2**30:
        raise SystemExit(f"expected a BigTIFF of more than 5 GiB; found {head!r}, {product.size_bytes:,} bytes")
    access = stack.services.store.gdal_access(product.cog, life_s=600)
    with gdal_env(access.options), rasterio.open(access.path) as cog:
        if not np.array_equal(cog.read(window=window), expected):
            raise SystemExit("the COG has other pixels than its source")
