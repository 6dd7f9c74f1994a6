"""``geoetl catalog``: whether the catalogue is right, making it anew, and clearing away what nothing refers to."""

import datetime as dt
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer

from geoetl.cli import output
from geoetl.db.connections import ConnectionSource
from geoetl.db.runs import unfinished_runs
from geoetl.engine.services import Services
from geoetl.publication.audit import audit
from geoetl.publication.rebuild import rebuild
from geoetl.publication.sweeper import GRACE, sweep
from geoetl.worker.client import default_services

app = typer.Typer(help="Check the catalogue, rebuild it from the ledger, sweep the store.", no_args_is_help=True)

OneCollection = Annotated[str | None, typer.Option("--collection", help="Only this collection.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def check(collection: OneCollection = None, as_json: AsJson = False) -> None:
    """Compare catalogue, ledger and store; exit status 1 where they differ."""
    services = default_services()
    with _business(services) as connections:
        found = list(audit(connections, services.store, collection=collection))
    if as_json:
        output.print_json(found)
    elif found:
        output.table(
            "problem",
            "collection",
            "item",
            "detail",
            rows=[(each.kind, each.collection, each.item_id, each.detail) for each in found],
        )
        for kind, hint in sorted({(each.kind, each.hint) for each in found}):
            output.note(f"{kind}: {hint}")
    else:
        output.say("Catalogue, ledger and store say the same.")
    if found:
        raise typer.Exit(output.EXIT_FAILED)


@app.command("rebuild")
def rebuild_catalogue(
    collection: OneCollection = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write every published item of the ledger into the catalogue again."""
    with _business(default_services()) as connections:
        made = rebuild(connections, collection=collection, dry_run=dry_run)
    if as_json:
        output.print_json(made)
        return
    output.table(
        "collection",
        "items",
        "were missing",
        "unknown to the ledger",
        "collection itself",
        rows=[
            (each.collection, each.items, each.missing, each.unknown, "made anew" if each.is_created else "was there")
            for each in made
        ],
    )
    if dry_run:
        output.note("Nothing was written. Leave --dry-run out to write.")


@app.command("sweep")
def sweep_store(
    delete: Annotated[bool, typer.Option("--delete", help="Remove; without it they are only listed.")] = False,
    grace_hours: Annotated[
        float, typer.Option(min=1, help="Keep what is younger, or was replaced more lately.")
    ] = GRACE.total_seconds() / 3600,
    container: Annotated[str | None, typer.Option(help="Silver container; by default the configured one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List products that nothing refers to, and remove them with --delete. Live and resumable runs are left alone."""
    services = default_services()
    with _business(services) as connections:
        swept = sweep(
            services.store,
            connections,
            lambda runs: unfinished_runs(services.connections(), runs),
            container=container or services.settings.storage.silver.container,
            grace=dt.timedelta(hours=grace_hours),
            dry_run=not delete,
        )
    if as_json:
        output.print_json({"deleted": delete, "blobs": swept})
        return
    output.table("blob", "bytes", "written", rows=[(each.uri, each.size_bytes, each.last_modified) for each in swept])
    size = sum(each.size_bytes for each in swept)
    output.say(f"{len(swept)} blob(s), {size / 2**20:.1f} MiB {'deleted' if delete else 'would be deleted'}")
    if swept and not delete:
        output.note("Nothing was deleted. Add --delete to delete these.")


@contextmanager
def _business(services: Services) -> Generator[ConnectionSource]:
    source = ConnectionSource(services.settings.database.business, application_name="geoetl catalog")
    try:
        yield source
    finally:
        source.close()
