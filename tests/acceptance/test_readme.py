"""Every command of the README works as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT
from tests.acceptance.rasters import write_raster

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
#: CI runs these themselves, in this order (.ci/run).
MAKE = {"make demo", "make check", "make test", "make stop"}


@pytest.fixture(scope="module")
def demo(installation, tmp_path_factory):
    """What the README's commands find after `make demo`."""
    ref = installation.put("demo/srtm90.tif", write_raster(tmp_path_factory.mktemp("readme") / "srtm90.tif"))
    installation.run_here("collection", "create", "demo")
    return ref


def test_the_readme_is_short():
    assert len(README.splitlines()) < 100


def test_ci_runs_the_make_targets_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()

    assert {command for command in COMMANDS if command.startswith("make ")} == MAKE
    assert [command for command in MAKE if command not in script] == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in MAKE])
def test_a_command_of_the_readme_works(installation, a_worker, demo, command):
    program, *words = shlex.split(command)
    assert program == ".venv/bin/geoetl"

    done = installation.geoetl(*words)

    assert done.returncode == 0, done.stderr


def test_the_python_example_works(installation, a_worker, demo, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for name, value in installation.environ.items():
        monkeypatch.setenv(name, value)
    from geoetl.worker.client import close_default_services

    try:
        exec(compile(example, str(Path("README.md")), "exec"), {})
    finally:
        close_default_services()

    assert "JobState.COMPLETED" in capsys.readouterr().out
