"""The stand-alone rooms load nothing else of geoetl, as the users of one of them will have it."""

import subprocess
import sys

import pytest

ROOMS = ("transport", "emulator", "backend")


@pytest.mark.parametrize("room", ROOMS)
def test_a_stand_alone_room_loads_nothing_else_of_ours(room):
    code = f"import geoetl.{room}, sys; print('\\n'.join(name for name in sys.modules if name.startswith('geoetl.')))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert [name for name in loaded if not name.startswith(f"geoetl.{room}")] == []


def test_every_module_of_a_stand_alone_room_loads_nothing_else_of_ours():
    code = (
        "import importlib, pkgutil, sys\n"
        f"for room in {ROOMS!r}:\n"
        "    package = importlib.import_module('geoetl.' + room)\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
        "print('\\n'.join(name for name in sys.modules if name.startswith('geoetl.')))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert [name for name in loaded if name.split(".")[1] not in ROOMS] == []


def test_the_public_names_are_lazy():
    code = (
        "import geoetl, sys; assert 'celery' not in sys.modules; geoetl.ProcessRaster; print('celery' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() in {"True", "False"}
