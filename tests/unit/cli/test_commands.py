import subprocess
import sys
from importlib import import_module

import pytest
from typer.testing import CliRunner

from geoetl.cli.commands import COMMANDS
from geoetl.cli.main import app

#: What takes most of a second to load, and what it is needed for: jobs, rasters, Azure.
HEAVY = ("geoetl.worker.client", "rasterio", "azure.servicebus")


def test_those_that_hand_their_options_on_are_found():
    handing_on = {name: COMMANDS[name] for name in COMMANDS if COMMANDS[name].context_settings}

    assert list(handing_on) == ["flower", "emulator"]
    for command in handing_on.values():
        found = getattr(import_module(f"geoetl.cli.{command.module}"), command.attribute)
        assert found.__doc__.startswith(command.help.removesuffix("."))


# Not of those above: their help is that of a program that takes this process's place.
@pytest.mark.parametrize("name", [name for name in COMMANDS if not COMMANDS[name].context_settings])
def test_each_command_is_found_and_described_as_it_describes_itself(name: str):
    result = CliRunner().invoke(app, [name, "--help"])

    assert result.exit_code == 0
    assert COMMANDS[name].help.removesuffix(".") in " ".join(result.output.split())


def test_tasks_are_looked_at_beside_their_job():
    listed = CliRunner().invoke(app, ["job", "--help"]).output

    assert [name for name in ("list", "status", "cancel", "tasks", "show-task") if f"  {name} " in listed] == [
        "list", "status", "cancel", "tasks", "show-task",
    ]  # fmt: skip


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one():
    result = CliRunner().invoke(app, ["submti"])

    assert result.exit_code == 2
    assert "Did you mean 'submit'" in result.output


def test_help_loads_no_command():
    code = f"""
import sys
sys.argv = ["geoetl", "--help"]
from geoetl.cli.main import main
try:
    main()
except SystemExit as ended:
    print(ended.code, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stderr.strip() == "0 []"
    assert all(f"  {name} " in answer.stdout for name in COMMANDS)
