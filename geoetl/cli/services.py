"""``geoetl local``, ``relay``, ``flower``, ``emulator``: what runs beside the commands."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from prometheus_client import start_http_server

from geoetl.cli import output
from geoetl.config import load_settings
from geoetl.config.sources import home_of
from geoetl.engine import metrics
from geoetl.local.flower import check_installed
from geoetl.local.stack import Stack
from geoetl.telemetry import configure_logging
from geoetl.worker.monitor import flower_command

local_app = typer.Typer(help="The whole stack on this machine, without Docker.", no_args_is_help=True)


def stack() -> Stack:
    """The embedded stack of this folder, or of ``GEOETL_HOME``."""
    return Stack(home_of(os.environ, Path.cwd()))


@local_app.command()
def up(
    workers: Annotated[bool, typer.Option(help="Also start a worker for each queue.")] = False,
    with_flower: Annotated[bool, typer.Option("--flower", help="Also start Flower.")] = False,
) -> None:
    """Start PostgreSQL, Azurite and the Service Bus emulator; migrate both databases."""
    stack().up(output.note, workers=workers, flower=with_flower)
    status()


@local_app.command()
def down() -> None:
    """Stop everything. Data stays."""
    stack().down(output.note)


@local_app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Ask every component whether it works, and say where its log is."""
    components = stack().status()
    if as_json:
        output.print_json([
            {"name": each.name, "state": each.health.state, "detail": each.health.detail, "log": str(each.log)}
            for each in components
        ])  # fmt: skip
        return
    output.table(
        "component",
        "state",
        "detail",
        "log",
        rows=[(each.name, output.colored(each.health.state), each.health.detail, each.log) for each in components],
    )


@local_app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Stop everything and delete all data of the stack."""
    ours = stack()
    if not yes:
        typer.confirm(f"Delete all data in {ours.home}?", abort=True)
    ours.reset(output.note)


def relay(
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Also serve Prometheus metrics on this port.")
    ] = None,
) -> None:
    """Publish the outbox and return what dead workers held, until stopped. Stands by while another process does it."""
    from geoetl.worker.client import default_services  # noqa: PLC0415 - `local up` must work before there are settings

    ours = default_services()
    configure_logging(as_json=ours.settings.log.format == "json")
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if metrics_port is not None:
        start_http_server(metrics_port, registry=metrics.registry(ours.connections))
    ours.relay.run(stop)


def show_metrics() -> None:
    """Print what the database says about the engine, in Prometheus' text format."""
    from geoetl.worker.client import default_services  # noqa: PLC0415 - `local up` must work before there are settings

    output.say_at_once(metrics.exposition(default_services().connections).rstrip())


def flower(context: typer.Context) -> None:
    """Run Flower on the workers of the settings; takes Flower's own options, `geoetl flower --help` shows them."""
    check_installed()
    load_settings()  # what is wrong with them is said by us, not by Celery
    command = flower_command(*context.args)
    os.execv(command[0], command)  # noqa: S606 - signals and the exit status are Flower's own, not those of a parent


def emulator(context: typer.Context) -> None:
    """Run the Service Bus emulator alone; `geoetl emulator --help` shows its options."""
    from geoetl.emulator.command import main  # noqa: PLC0415 - the other commands need none of it

    raise typer.Exit(main(context.args))
