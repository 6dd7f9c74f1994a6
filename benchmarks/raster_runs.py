"""One way to make a COG, in a process of its own, so that its CPU time and peak memory are its own."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
from rio_cogeo.cogeo import cog_translate

from benchmarks import odc_geo
from benchmarks.meter import Meter
from geoetl.gdal.env import gdal_env
from geoetl.gdal.header import facts_of
from geoetl.models.bigcog import AssembleInput, BandInput, BandReceipt, SharedCog
from geoetl.models.raster import BlobFacts, ConvertInput
from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobProperties
from geoetl.tasks.raster.cog.assemble import assemble_cog
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.profiles import choose_profile
from tests.integration.raster.conftest import FolderStore, PlainContext

SOURCE = BlobRef("bronze://bench/source.tif")
TARGET = BlobRef("silver://bench/cog.tif")
SINGLE = BlobRef("silver://bench/single.tif")


@dataclass
class Figures:
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    size_bytes: int = 0
    moved_bytes: int = 0
    """Through the store; what GDAL reads of the source itself is not counted."""
    scratch_bytes: int = 0
    apart_wall_s: dict[str, float] = field(default_factory=dict[str, float])
    """What the contenders do not do, by phase: see ``meter.py``."""
    apart_cpu_s: dict[str, float] = field(default_factory=dict[str, float])

    def without(self, *phases: str) -> "Figures":
        """The time that is left without some phases."""
        return replace(
            self,
            wall_s=self.wall_s - sum(self.apart_wall_s.get(phase, 0.0) for phase in phases),
            cpu_s=self.cpu_s - sum(self.apart_cpu_s.get(phase, 0.0) for phase in phases),
        )

    def __str__(self) -> str:
        apart = ", ".join(f"{phase} {cpu_s:.2f}" for phase, cpu_s in sorted(self.apart_cpu_s.items()))
        return (
            f"wall {self.wall_s:6.2f} s  CPU {self.cpu_s:6.2f} s  peak {self.peak_rss_mb:4.0f} MB  "
            f"moved {self.moved_bytes / 2**20:5.0f} MiB  scratch {self.scratch_bytes / 2**20:5.0f} MiB"
            + (f"  (CPU of {apart})" if apart else "")
        )


def context(folder: Path, threads: int) -> PlainContext:
    scratch = folder / "scratch" / str(time.monotonic_ns())
    scratch.mkdir(parents=True)
    return PlainContext(store=LinkingStore(folder / "blobs"), scratch=scratch, threads=threads)


class LinkingStore(FolderStore):
    """Puts blocks together in the kernel: this process is no storage service, and must not do one's work."""

    def commit_blocks(self, ref: BlobRef, block_ids: Sequence[str], **kwargs: Any) -> BlobProperties:
        with self.path(ref).with_suffix(".tmp").open("wb") as out:
            for block_id in block_ids:
                with (self.path(ref).with_name(f"{self.path(ref).name}.blocks") / block_id).open("rb") as block:
                    while os.copy_file_range(block.fileno(), out.fileno(), 2**30):
                        pass
        self.path(ref).with_suffix(".tmp").rename(self.path(ref))
        return self.properties(ref)


def shared_cog(folder: Path, band_rows: int) -> SharedCog:
    etag = context(folder, 1).store.properties(SOURCE).etag
    return SharedCog(source=SOURCE, etag=etag, target=TARGET, band_rows=band_rows, is_striped=False)


def path_of(folder: Path, ref: BlobRef) -> Path:
    return FolderStore(folder / "blobs").path(ref)


def source_facts(folder: Path):
    with rasterio.open(path_of(folder, SOURCE)) as src:
        return facts_of(src, BlobFacts(size_bytes=1, etag="e"))


def run_driver(folder: Path, threads: int) -> None:
    facts = source_facts(folder)
    profile = choose_profile("auto", facts, "x", threads=threads, has_nodata=facts.mask_kind == "nodata")
    with gdal_env(threads=threads), rasterio.open(path_of(folder, SOURCE)) as src:
        rasterio.shutil.copy(src, str(folder / "driver.tif"), driver="COG", **profile.options)


def run_rio_cogeo(folder: Path, threads: int) -> None:
    facts = source_facts(folder)
    predictor = 3 if "float" in facts.bands[0].dtype else 2
    options = {
        "driver": "GTiff", "interleave": "pixel", "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "ZSTD", "zstd_level": 1, "predictor": predictor, "bigtiff": "IF_SAFER",
    }  # fmt: skip
    cog_translate(
        str(path_of(folder, SOURCE)), str(folder / "rio-cogeo.tif"), options, in_memory=False, quiet=True,
        overview_resampling="average", config={"GDAL_NUM_THREADS": str(threads), "GDAL_TIFF_OVR_BLOCKSIZE": "512"},
    )  # fmt: skip


def run_bands(folder: Path, threads: int, band_rows: int, bands: list[int]) -> None:
    cog = shared_cog(folder, band_rows)
    for band in bands:
        receipt = encode_band(BandInput(cog=cog, band=band), context(folder, threads))
        (folder / f"receipt-{band}.json").write_text(receipt.model_dump_json())


def run_assemble(folder: Path, threads: int, band_rows: int, count: int) -> None:
    receipts = tuple(
        BandReceipt.model_validate_json((folder / f"receipt-{band}.json").read_text()) for band in range(count)
    )
    task = AssembleInput(cog=shared_cog(folder, band_rows), facts=source_facts(folder), receipts=receipts)
    assemble_cog(task, context(folder, threads))


def run_single(folder: Path, threads: int) -> None:
    ctx = context(folder, threads)
    etag = ctx.store.properties(SOURCE).etag
    convert_raster(ConvertInput(source=SOURCE, etag=etag, target=SINGLE, facts=source_facts(folder)), ctx)


def start(folder: Path, **what: object) -> subprocess.Popen[bytes]:
    """Begin a run in a process of its own."""
    told = json.dumps({"folder": str(folder), **what})
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.raster_runs", told]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> Figures:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}: {process.args}")
    return Figures(**json.loads(out.splitlines()[-1]))


def together(at_once: Sequence[Figures], then: Figures) -> Figures:
    """Of processes that ran side by side, and one after them."""
    every = [*at_once, then]
    slowest = max(at_once, key=lambda one: one.wall_s)
    return Figures(
        wall_s=slowest.wall_s + then.wall_s,
        cpu_s=sum(one.cpu_s for one in every),
        peak_rss_mb=max(one.peak_rss_mb for one in every),
        size_bytes=then.size_bytes,
        moved_bytes=sum(one.moved_bytes for one in every),
        scratch_bytes=sum(one.scratch_bytes for one in at_once),
        apart_wall_s=added([slowest.apart_wall_s, then.apart_wall_s]),
        apart_cpu_s=added([one.apart_cpu_s for one in every]),
    )


def added(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Sums by phase."""
    return {phase: sum(one.get(phase, 0.0) for one in figures) for phase in set().union(*figures)}


def peak_rss_mb() -> float:
    """Of this program: ``ru_maxrss`` begins with what the process held that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    what = json.loads(sys.argv[1])
    folder, threads, kind = Path(what["folder"]), what["threads"], what["kind"]
    meter = Meter(folder / "scratch")
    meter.install(LinkingStore, has_parallel_verification=kind == "bands")
    began, used = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    written = path_of(folder, TARGET)
    if kind == "driver":
        run_driver(folder, threads)
        written = folder / "driver.tif"
    elif kind == "rio-cogeo":
        run_rio_cogeo(folder, threads)
        written = folder / "rio-cogeo.tif"
    elif kind == "odc-geo":
        written = folder / "odc-geo.tif"
        odc_geo.write_cog(path_of(folder, SOURCE), written, threads)
    elif kind == "bands":
        run_bands(folder, threads, what["band_rows"], what["bands"])
    elif kind == "single":
        path_of(folder, SINGLE).unlink(missing_ok=True)
        run_single(folder, threads)
        written = path_of(folder, SINGLE)
    else:
        run_assemble(folder, threads, what["band_rows"], what["count"])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # Imports are no part of it: a worker is there already.
    figures = Figures(
        wall_s=time.perf_counter() - began,
        cpu_s=usage.ru_utime + usage.ru_stime - used,
        peak_rss_mb=peak_rss_mb(),
        size_bytes=written.stat().st_size if written.exists() else 0,
        **meter.figures(),
    )
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
