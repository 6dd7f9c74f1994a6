"""``geoetl db``: the two databases, their schemas and their roles."""

from typing import Annotated

import typer

from geoetl.cli import output
from geoetl.cli.durations import seconds
from geoetl.cli.story import count
from geoetl.config.database import DatabaseSettings
from geoetl.config.settings import load_settings
from geoetl.db import maintenance
from geoetl.db.connections import database_errors
from geoetl.db.maintenance import MaintenanceReport
from geoetl.db.provision import Layout, provision, provision_script
from geoetl.db.status import DatabaseStatus, database_statuses
from geoetl.db.upgrade import upgrade
from geoetl.engine import prune as engine_prune
from geoetl.engine.submit import user
from geoetl.errors import InvalidInput
from geoetl.worker.client import default_services

app = typer.Typer(help="Provision, migrate, inspect and rebuild the databases.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Confirm = Annotated[
    str | None, typer.Option(help="The app database's name, typed: for scripts; without it you are asked.")
]


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show both databases: migrations, drift, pgSTAC, maintenance; exit status 1 where one is not ready."""
    found = database_statuses(_settings())
    if as_json:
        output.print_json(found)
    else:
        for each in found:
            _print_status(each)
    if not all(each.is_ready for each in found):
        raise typer.Exit(output.EXIT_FAILED)


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is pending.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply pending migrations to both databases, and pgSTAC's; data stays."""
    report = upgrade(_settings(), dry_run=dry_run)
    if as_json:
        output.print_json(report)
        return
    for name, steps in (("app", report.app), ("business", report.business)):
        for step in steps:
            output.say(f"{name}  {step}  {'pending' if dry_run else 'applied'}")
        if not steps:
            output.say(f"{name}  up to date")
    if report.pgstac:
        output.say(f"business  pgSTAC {report.pgstac}, hardened")


@app.command("provision")
def provision_databases(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL for psql instead of running it.")] = False,
) -> None:
    """Create roles, databases, extensions, grants and the marker, where they are missing."""
    settings = _settings()
    layout = Layout.of(settings)
    if dry_run:
        typer.echo(provision_script(layout), nl=False)
        return
    if settings.admin is None:
        raise InvalidInput(
            "The settings do not name the server's administrator.",
            code="admin-missing",
            hint="Set GEOETL_DATABASE__ADMIN__HOST, …__DBNAME and …__USER, or give an administrator the output of "
            "`geoetl db provision --dry-run`.",
        )
    provision(settings.admin, layout)
    output.say(f"{layout.app_db} and {layout.business_db} are provisioned. Next: `geoetl db migrate`.")


@app.command()
def redeploy(as_json: AsJson = False) -> None:
    """Bring the app database up to date, also after a nuke. Data stays."""
    _show(maintenance.redeploy(_settings().app, person=user() or "unknown"), as_json=as_json)


@app.command("full-rebuild")
def full_rebuild(confirm: Confirm = None, as_json: AsJson = False) -> None:
    """Drop all jobs and their history, and make the app database anew. Products and catalogue stay."""
    target = _settings().app
    typed = confirm or _ask(target.dbname, "every job, task and event in it is deleted")
    _show(maintenance.full_rebuild(target, confirm=typed, person=user() or "unknown"), as_json=as_json)


@app.command()
def prune(
    older_than: Annotated[
        float | None,
        typer.Option(parser=seconds, metavar="DURATION", help="Only jobs that ended so long ago, for example 90d."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove jobs that ended long ago, with their history. Products, catalogue and live jobs stay."""
    services = default_services()
    age_s = services.settings.limits.keep_jobs_days * 86400 if older_than is None else older_than
    with database_errors("prune the app database"):
        done = engine_prune.prune(services, age_s=age_s, dry_run=dry_run)
        results = 0 if dry_run else services.app.backend.expire()
    if as_json:
        output.print_json({**output.as_json(done), "results": results, "older_than_s": age_s, "dry_run": dry_run})
        return
    would = "would be removed" if dry_run else "removed"
    jobs, runs = count(done.jobs, "job"), count(done.runs, "run")
    output.say(f"{jobs} and {runs} that ended more than {age_s / 86400:.4g} days ago {would}")
    with_them = ", ".join(
        count(number, noun)
        for number, noun in ((done.tasks, "task"), (done.events, "event"), (done.parked_messages, "message"))
    )
    output.say(f"  with {with_them}")
    if done.stripped_runs:
        kept = "would keep" if dry_run else "kept"
        output.say(
            f"  {count(done.stripped_runs, 'run')} {kept} the row: the catalogue still shows what they published"
        )


@app.command()
def nuke(confirm: Confirm = None, as_json: AsJson = False) -> None:
    """Drop everything in the app database; workers wait until a redeploy. Products and catalogue stay."""
    target = _settings().app
    typed = confirm or _ask(target.dbname, "everything in it is deleted, and workers wait until `geoetl db redeploy`")
    _show(maintenance.nuke(target, confirm=typed, person=user() or "unknown"), as_json=as_json)


def _settings() -> DatabaseSettings:
    return load_settings().database


def _ask(dbname: str, what: str) -> str:
    output.note(f"This cannot be undone: {what}.")
    return typer.prompt(f"Type the name of the database ({dbname}) to go on", err=True)


def _show(report: MaintenanceReport, *, as_json: bool) -> None:
    if as_json:
        output.print_json(report)
        return
    rows = sum(report.dropped_rows.values())
    dropped = f", {rows} rows of {len(report.dropped_rows)} tables dropped" if report.dropped_rows else ""
    output.say(f"{report.database}  {report.action} done{dropped}, {len(report.applied)} migrations applied")
    if report.action == "nuke":
        output.note("Workers wait. `geoetl db redeploy` makes the schema anew.")


def _print_status(found: DatabaseStatus) -> None:
    output.say(f"{found.name}: {found.target}  {output.colored('healthy' if found.is_ready else 'unhealthy')}")
    for problem in found.problems:
        output.say(f"  [red]problem[/red] {output.plain(problem)}")
    if not found.problems or found.applied:
        output.say(f"  {len(found.applied)} migrations applied, {len(found.pending)} pending")
    for step in found.pending:
        output.say(f"    pending {step}")
    if found.drift is None:
        output.say("  drift not checked: only the owner can, and GEOETL_DATABASE__BUSINESS_OWNER__… is not set")
    for difference in found.drift or ():
        output.say(f"  [yellow]drift[/yellow] {output.plain(difference)}")
    if found.pgstac:
        output.say(f"  pgSTAC {found.pgstac}")
    if found.name == "app":
        output.say(f"  {'carries' if found.is_nukeable else 'does not carry'} the marker that allows a rebuild")
    for record in found.maintenance:
        at = record.started_at.strftime("%Y-%m-%d %H:%M:%S")
        output.say(f"  {at}  {record.action} by {record.person} on {record.host}: {record.state}")
