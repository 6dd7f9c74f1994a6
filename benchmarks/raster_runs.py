"""One way to make a COG, in a process of its own, so that its CPU time and peak memory are its own."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import rasterio
import rasterio.shutil
from rio_cogeo.cogeo import cog_translate

from geoetl.gdal.env import gdal_env
from geoetl.gdal.header import facts_of
from geoetl.models.bigcog import AssembleInput, BandInput, BandReceipt, SharedCog
from geoetl.models.raster import BlobFacts
from geoetl.models.refs import BlobRef
from geoetl.tasks.raster.cog.assemble import assemble_cog
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.profiles import choose_profile
from tests.integration.raster.conftest import FolderStore, PlainContext

SOURCE = BlobRef("bronze://bench/source.tif")
TARGET = BlobRef("silver://bench/cog.tif")


@dataclass
class Figures:
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    moved_bytes: int = 0
    size_bytes: int = 0


def context(folder: Path, threads: int) -> PlainContext:
    scratch = folder / f"scratch-{time.monotonic_ns()}"
    scratch.mkdir()
    return PlainContext(store=FolderStore(folder / "blobs"), scratch=scratch, threads=threads)


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


def run_assemble(folder: Path, threads: int, band_rows: int, count: int) -> int:
    receipts = tuple(
        BandReceipt.model_validate_json((folder / f"receipt-{band}.json").read_text()) for band in range(count)
    )
    task = AssembleInput(cog=shared_cog(folder, band_rows), facts=source_facts(folder), receipts=receipts)
    return assemble_cog(task, context(folder, threads)).moved_bytes


def start(folder: Path, **what: object) -> subprocess.Popen[bytes]:
    """Begin a run in a process of its own."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.raster_runs",
        json.dumps({"folder": str(folder), **what}),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> Figures:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}: {process.args}")
    return Figures(**json.loads(out.splitlines()[-1]))


def _peak_rss_mb() -> float:
    """Of this program: ``ru_maxrss`` begins with what the process held that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    what = json.loads(sys.argv[1])
    folder, threads, kind = Path(what["folder"]), what["threads"], what["kind"]
    began, used = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    moved = 0
    if kind == "driver":
        run_driver(folder, threads)
    elif kind == "rio-cogeo":
        run_rio_cogeo(folder, threads)
    elif kind == "bands":
        run_bands(folder, threads, what["band_rows"], what["bands"])
    else:
        moved = run_assemble(folder, threads, what["band_rows"], what["count"])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # Imports are no part of it: a worker is there already.
    figures = Figures(time.perf_counter() - began, usage.ru_utime + usage.ru_stime - used, _peak_rss_mb(), moved)
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
