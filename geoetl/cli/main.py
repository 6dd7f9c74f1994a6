"""The ``geoetl`` command."""

import logging
import sys
import warnings

import typer

from geoetl.cli.commands import LazyGroup
from geoetl.errors import GeoEtlError

app = typer.Typer(
    name="geoetl",
    cls=LazyGroup,
    help="Geospatial ETL on Azure: sources in Bronze become cloud-optimised products in Silver, catalogued in STAC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def _geoetl() -> None:
    """Nothing is done before the command."""


def _run() -> None:
    """The command; an error of the database that nothing on the way has explained is explained here."""
    try:
        app()
    except Exception as error:
        # The driver's own class would have to load it, for every help text. What is no error of it goes on as it is.
        if "psycopg" not in sys.modules:
            raise
        from geoetl.db.connections import explain  # noqa: PLC0415 - most commands' help needs no database

        if (explained := explain(error)) is None:
            raise
        raise explained from error


def main() -> None:
    """Run the command; errors become one message and an exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("default", module="geoetl")
    try:
        _run()
    except GeoEtlError as error:
        from geoetl.cli import output  # noqa: PLC0415 - with what draws tables

        output.print_error(error, as_document="--json" in sys.argv)
        raise SystemExit(output.exit_status(error)) from None
    except KeyboardInterrupt:
        from geoetl.cli import output  # noqa: PLC0415 - as above

        output.note("Interrupted. Jobs that were accepted go on.")
        raise SystemExit(130) from None
    finally:
        # Loading it only to close nothing takes half a second.
        if (client := sys.modules.get("geoetl.worker.client")) is not None:
            client.close_default_services()
