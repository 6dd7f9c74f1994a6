import subprocess
import sys

import pytest
from typer.testing import CliRunner

from geoetl.cli.commands import COMMANDS
from geoetl.cli.main import app

#: What takes most of a second to load, and what it is needed for: jobs, rasters, Azure.
HEAVY = ("geoetl.worker.client", "rasterio", "azure.servicebus")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_found_and_described_as_it_describes_itself(name: str):
    result = CliRunner().invoke(app, [name, "--help"])
    if COMMANDS[name].context_settings:
        return  # its help is another program's
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
