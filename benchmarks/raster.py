"""How geoetl's COGs compare with those of others: ``python -m benchmarks.raster [--quick] [--huge]``.

The others are GDAL's COG driver, rio-cogeo and, where it is installed, odc-geo.

Contenders run in processes of their own, everything on local disk, interleaved; medians are taken of three rounds. What
ours do and the others do not is measured apart: reading back and comparing what was written (verification), statistics
of every pixel, checksums, a thumbnail and the item's facts (description), and transfers to and from the store. A whole
job on an embedded stack shows what the engine adds.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import odc_geo
from benchmarks.raster_jobs import platform, run_huge
from benchmarks.raster_runs import (
    SINGLE,
    SOURCE,
    TARGET,
    Figures,
    added,
    finish,
    path_of,
    source_facts,
    start,
    together,
)
from benchmarks.raster_sources import BAND_ROWS, Raster

ROUNDS = 3
#: What GDAL's driver, rio-cogeo and odc-geo do not do.
APART = ("transfers", "verification", "statistics", "checksums", "description", "inspection")
#: Pixels of each side of the raster that becomes a COG of more than 5 GiB; a multiple of 512.
HUGE_SIDE = 69_632


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
        yield f"bands-{workers}", together(encoded, last)
        if workers == 1:
            yield "assembler", last
    yield "single", finish(start(folder, kind="single", threads=2))
    yield "rio-cogeo", finish(start(folder, kind="rio-cogeo", threads=2))
    if odc_geo.problem() is None:
        yield "odc-geo", finish(start(folder, kind="odc-geo", threads=2))


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
        expected = (folder / "driver.tif").read_bytes()
        for kind, ref in (("bands", TARGET), ("single", SINGLE)):
            print(f"{raster.name:20} {kind}: the driver's file: {path_of(folder, ref).read_bytes() == expected}")
    return {kind: _median(figures) for kind, figures in runs.items()}


def measure_jobs(raster: Raster, rounds: int) -> tuple[Figures, Figures]:
    """Medians of GDAL's driver and of whole jobs, by one worker of one process."""
    bare: list[Figures] = []
    jobs: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="geoetl-bench-") as name:
        folder = Path(name)
        path = path_of(folder, SOURCE)
        path.parent.mkdir(parents=True)
        raster.write(path)
        with platform(folder / "stack", concurrency=1) as stack:
            ref = stack.put(path, "source.tif")
            for number in range(rounds):
                bare.append(finish(start(folder, kind="driver", threads=2)))
                jobs.append(stack.run(ref)[1])
                print(f"{raster.name:20} round {number + 1} driver     {bare[-1]}")
                print(f"{raster.name:20} round {number + 1} whole job  {jobs[-1]}", flush=True)
    return _median(bare), _median([job.without(*APART) for job in jobs])


def _median(runs: Sequence[Figures]) -> Figures:
    def median(field: str) -> float:
        return statistics.median(getattr(run, field) for run in runs)

    def mean(phases: Sequence[dict[str, float]]) -> dict[str, float]:
        return {phase: seconds / len(runs) for phase, seconds in added(phases).items()}

    return Figures(
        wall_s=median("wall_s"),
        cpu_s=median("cpu_s"),
        peak_rss_mb=max(run.peak_rss_mb for run in runs),
        size_bytes=runs[0].size_bytes,
        moved_bytes=int(median("moved_bytes")),
        scratch_bytes=max(run.scratch_bytes for run in runs),
        apart_wall_s=mean([run.apart_wall_s for run in runs]),
        apart_cpu_s=mean([run.apart_cpu_s for run in runs]),
    )


def print_ratios(medians: Sequence[dict[str, Figures]]) -> None:
    """Means of all rasters, as ``name=value`` lines."""

    def ratio(one: str, other: str, field: str, *without: str) -> float:
        return statistics.geometric_mean(
            getattr(each[one].without(*without), field) / getattr(each[other], field) for each in medians
        )

    def share(phase: str) -> float:
        return statistics.mean(each["bands-1"].apart_cpu_s.get(phase, 0.0) / each["driver"].cpu_s for each in medians)

    # The driver uploads nothing: transfers are never counted.
    print(f"many_task_cpu_vs_gdal={ratio('bands-1', 'driver', 'cpu_s', 'transfers'):.3f}")
    print(f"many_task_cpu_vs_gdal_same_work={ratio('bands-1', 'driver', 'cpu_s', *APART):.3f}")
    for phase in APART[:-1]:
        print(f"many_task_{phase}_cpu_vs_gdal={share(phase):.3f}")
    print(f"many_task_wall_2_vs_1={ratio('bands-2', 'bands-1', 'wall_s'):.3f}")
    print(f"many_task_wall_vs_gdal={ratio('bands-2', 'driver', 'wall_s', 'transfers'):.3f}")
    print(f"many_task_peak_rss_mb={max(each['bands-2'].peak_rss_mb for each in medians):.0f}")
    moved = max(each["assembler"].moved_bytes / each["bands-1"].size_bytes for each in medians)
    print(f"assemble_moved_share={moved:.4f}")
    print(f"single_task_cpu_vs_gdal={ratio('single', 'driver', 'cpu_s', 'transfers'):.3f}")
    print(f"single_task_cpu_vs_gdal_same_work={ratio('single', 'driver', 'cpu_s', *APART):.3f}")
    print(f"single_task_wall_vs_gdal_same_work={ratio('single', 'driver', 'wall_s', *APART):.3f}")
    print(f"cog_speed_vs_rio_cogeo={1 / ratio('bands-2', 'rio-cogeo', 'wall_s', *APART):.3f}")
    print(f"cog_speed_vs_rio_cogeo_all_in={1 / ratio('bands-2', 'rio-cogeo', 'wall_s'):.3f}")
    if problem := odc_geo.problem():
        print(f"odc-geo was left out: {problem}")
        return
    print(f"cog_speed_vs_odc_geo={1 / ratio('bands-2', 'odc-geo', 'wall_s', *APART):.3f}")
    print(f"many_task_cpu_vs_odc_geo_same_work={ratio('bands-1', 'odc-geo', 'cpu_s', *APART):.3f}")
    print(f"odc_geo_peak_rss_mb={max(each['odc-geo'].peak_rss_mb for each in medians):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small rasters, within six minutes")
    parser.add_argument(
        "--huge", nargs="?", const=HUGE_SIDE, type=int, metavar="SIDE",
        help="only a COG of more than 5 GiB, of SIDE x SIDE bytes and a third; needs three times that of disk",
    )  # fmt: skip
    asked = parser.parse_args()
    if asked.huge:
        with tempfile.TemporaryDirectory(prefix="geoetl-bench-") as name:
            run_huge(Path(name), asked.huge)
        return
    sizes = [192 * 2**20] if asked.quick else [2**30, 4 * 2**30]
    rasters = [
        raster
        for size in sizes
        for raster in (
            Raster(f"uint16 x 3, {size >> 20} MiB", "uint16", 3, size),
            Raster(f"float32, {size >> 20} MiB", "float32", 1, size),
        )
    ]
    medians = [measure(raster, ROUNDS) for raster in rasters]
    bare, job = measure_jobs(rasters[0], 1 if asked.quick else ROUNDS)
    print_ratios(medians)
    print(f"cog_overhead_vs_gdal={job.wall_s / bare.wall_s:.3f}")
    print(f"cog_overhead_vs_gdal_cpu={job.cpu_s / bare.cpu_s:.3f}")
    print(f"single_task_job_peak_rss_mb={job.peak_rss_mb:.0f}")


if __name__ == "__main__":
    main()
