"""The configuration file of Flower that geoetl ships."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flower.options import options
from flower.utils.broker import Broker

from geoetl.worker import monitor

FILE = Path(monitor.__file__).with_name("flowerconfig.py")


@pytest.fixture(autouse=True)
def _broker_as_before(monkeypatch):
    monkeypatch.setattr(Broker, "__new__", Broker.__new__)


def settings() -> dict[str, Any]:
    """What tornado finds in the file, which it runs as we do."""
    names: dict[str, Any] = {}
    exec(compile(FILE.read_text(), FILE, "exec"), names)
    return {
        name: value
        for name, value in names.items()
        if not name.startswith("_") and not callable(value) and not isinstance(value, ModuleType)
    }


def test_every_setting_is_an_option_of_flower():
    assert [name for name in settings() if name not in options] == []


def test_a_variable_wins_over_the_file(monkeypatch):
    assert "max_tasks" in settings()
    monkeypatch.setenv("FLOWER_MAX_TASKS", "7")
    assert "max_tasks" not in settings()
