"""The ``geoetl`` command."""

import logging
import sys
import warnings

import typer

from geoetl.cli import (
    catalog,
    collections,
    config,
    db,
    demo,
    doctor,
    jobs,
    output,
    preflight,
    queues,
    services,
    storage,
    submit,
)
from geoetl.errors import GeoEtlError
from geoetl.worker.client import close_default_services

app = typer.Typer(
    name="geoetl",
    help="Geospatial ETL on Azure: sources in Bronze become cloud-optimised products in Silver, catalogued in STAC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("submit")(submit.submit)
app.command("plan")(submit.plan)
app.command("preflight")(preflight.preflight)
app.add_typer(jobs.app, name="job")
app.add_typer(collections.app, name="collection")
app.add_typer(queues.app, name="queues")
app.add_typer(catalog.app, name="catalog")
app.add_typer(storage.app, name="storage")
app.add_typer(config.app, name="config")
app.add_typer(db.app, name="db")
app.add_typer(services.local_app, name="local")
app.command("doctor")(doctor.doctor)
app.command("search")(collections.search)
app.command("relay")(services.relay)
app.command("metrics")(services.show_metrics)
# These have options of their own.
_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
app.command("flower", context_settings=_PASSED_ON)(services.flower)
app.command("emulator", context_settings=_PASSED_ON)(services.emulator)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command; errors become one message and an exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("default", module="geoetl")
    try:
        app()
    except GeoEtlError as error:
        output.print_error(error, as_document="--json" in sys.argv)
        raise SystemExit(output.exit_status(error)) from None
    except KeyboardInterrupt:
        output.note("Interrupted. Jobs that were accepted go on.")
        raise SystemExit(130) from None
    finally:
        close_default_services()
