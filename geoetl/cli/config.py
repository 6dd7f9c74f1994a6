"""``geoetl config``: what is set, whether it is right, and what can be set."""

from typing import Annotated

import typer

from geoetl.cli import output
from geoetl.config.effective import effective_values
from geoetl.config.reference import reference_page, template
from geoetl.config.settings import load_settings

app = typer.Typer(help="Show and check the settings.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show every setting, its value and where it came from. Secrets are masked."""
    values = effective_values()
    if as_json:
        output.print_json(values)
        return
    output.table("setting", "value", "from", rows=[(each.variable, each.value, each.origin) for each in values])


@app.command()
def check() -> None:
    """Check all settings; every problem is listed at once, exit status 2 if there is one."""
    load_settings()
    output.say("The settings are complete and valid. `geoetl doctor` tells whether they work.")


@app.command("template")
def print_template() -> None:
    """Print an .env file to fill in: what must be set, and everything else as comments."""
    typer.echo(template(), nl=False)


@app.command("reference", hidden=True)
def print_reference() -> None:
    """Print the reference page, docs/reference/settings.md."""
    typer.echo(reference_page(), nl=False)
