"""``geoetl demo``: the whole path on this machine, with real rasters."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from geoetl.chains.process_raster import ProcessRaster
from geoetl.cli import output
from geoetl.cli.contact_sheet import Picture, write_contact_sheet
from geoetl.cli.services import stack
from geoetl.engine.rows import TaskStatus
from geoetl.engine.services import Services
from geoetl.local.samples import ACQUIRED_AFTER, ACQUIRED_BEFORE, SAMPLES, fetch_samples
from geoetl.models.raster import CogProduct
from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobNotFound
from geoetl.worker import client
from geoetl.worker.client import Job

_COLLECTION = "demo"
_WAIT_S = 600.0


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What became of one source."""

    source: str
    item_id: str
    queue: str
    reason: str
    inspect_s: float | None
    convert_s: float | None
    cog_href: str
    cog_file: str
    thumbnail_file: str
    size_bytes: int
    profile: str
    checks: dict[str, bool]
    found_by_search: bool


def demo(
    force: Annotated[bool, typer.Option(help="Run again although it is done; the history is kept.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document last.")] = False,
) -> None:
    """Start everything on this machine and turn five real rasters into catalogued COGs."""
    began = time.monotonic()
    ours = stack()
    ours.up(output.note, workers=True)
    folder = ours.home / "demo"
    samples = fetch_samples(folder / "samples")
    services = client.default_services()
    sources = [_upload(services, path) for path in samples]
    job = _submit(sources, force=force)
    assert job.submission is not None
    output.note(f"job {job.id}: {job.submission.outcome}, run {job.submission.run_no}")
    job.wait(timeout_s=_WAIT_S)
    reports = _reports(services, job, sources, folder)
    sheet = folder / "contact-sheet.png"
    write_contact_sheet([_picture(report) for report in reports], sheet)
    if as_json:
        output.print_json({
            "jobs": [{"id": job.id, "run": job.submission.run_no, "outcome": job.submission.outcome}],
            "collection": _COLLECTION,
            "sources": reports,
            "contact_sheet": str(sheet),
            "seconds": round(time.monotonic() - began, 1),
        })  # fmt: skip
        return
    _print(job, reports, sheet, time.monotonic() - began)


def _upload(services: Services, path: Path) -> BlobRef:
    """Put a sample into Bronze, unless it is there: a new upload would be a new version, and a new job."""
    ref = BlobRef.of("bronze", services.settings.storage.bronze.container, f"demo/{path.name}")
    try:
        if services.store.properties(ref).size_bytes == path.stat().st_size:
            return ref
    except BlobNotFound:
        pass
    services.store.upload(ref, path, content_type="image/tiff", overwrite=True)
    return ref


def _submit(sources: Sequence[BlobRef], *, force: bool) -> Job:
    spec = ProcessRaster(
        sources=tuple(sources),
        collection=_COLLECTION,
        create_collection=True,
        start_datetime=ACQUIRED_AFTER,
        end_datetime=ACQUIRED_BEFORE,
    )
    job = client.submit(spec, force=force)
    if job.submission and job.submission.outcome == "ended before":
        output.note(f"job {job.id} {job.submission.state} last time, running it again")
        return client.submit(spec, force=True)
    return job


def _reports(services: Services, job: Job, sources: Sequence[BlobRef], folder: Path) -> list[SourceReport]:
    tasks = {(task.stage_no, task.idx): task for task in job.tasks()}
    products = [CogProduct.model_validate(tasks[1, index].result) for index in range(len(sources))]
    item_ids: list[str] = list((job.status().result or {})["items"])
    found = services.catalogue.search({"collections": [_COLLECTION], "ids": item_ids, "limit": len(item_ids)})
    visible = {item["id"] for item in found["features"]}
    return [
        SourceReport(
            source=source,
            item_id=item_id,
            queue=tasks[1, index].queue,
            reason=tasks[1, index].reason,
            inspect_s=_rounded(tasks[0, index]),
            convert_s=_rounded(tasks[1, index]),
            cog_href=services.store.href(product.cog),
            cog_file=str(_copy(services, product.cog, folder / "cogs" / f"{item_id}.tif", product.etag)),
            thumbnail_file=str(_copy(services, product.thumbnail, folder / "thumbnails" / f"{item_id}.png", None)),
            size_bytes=product.size_bytes,
            profile=product.profile,
            checks=product.checks,
            found_by_search=item_id in visible,
        )
        for index, (source, item_id, product) in enumerate(zip(sources, item_ids, products, strict=True))
    ]


def _copy(services: Services, ref: BlobRef, target: Path, etag: str | None) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    services.store.download(ref, target, etag=etag)
    return target


def _rounded(task: TaskStatus) -> float | None:
    return None if task.seconds is None else round(task.seconds, 3)


def _picture(report: SourceReport) -> Picture:
    about = next((sample.about for sample in SAMPLES if Path(sample.name).stem == report.item_id), report.source)
    return Picture(Path(report.thumbnail_file), report.item_id, about)


def _print(job: Job, reports: Sequence[SourceReport], sheet: Path, took_s: float) -> None:
    output.say()
    output.table(
        "item",
        "queue",
        "inspect",
        "convert",
        "size",
        "checks",
        "searchable",
        rows=[
            (
                report.item_id,
                report.queue,
                output.ago(report.inspect_s),
                output.ago(report.convert_s),
                f"{report.size_bytes / 1e6:.1f} MB",
                f"{sum(report.checks.values())}/{len(report.checks)}",
                "yes" if report.found_by_search else "NO",
            )
            for report in reports
        ],
    )
    cogs = Path(reports[0].cog_file).parent
    output.say(f"""
{len(reports)} items in collection [bold]{_COLLECTION}[/bold], {took_s:.1f} s. Job {job.id}.
  pictures     {sheet}
  COGs         {cogs}
  search       geoetl search --collection {_COLLECTION} --bbox=-125,35,-110,42
  what ran     geoetl job status {job.id[:12]}    geoetl job events {job.id[:12]}
  run again    geoetl demo --force
  stop         make stop    (or: geoetl local down)""")
