"""The job type of docs/howto/add-a-job-type.md, from the text of that page."""

import csv
import hashlib
import re
import shlex
import uuid

import pytest

from geoetl.chains.inventory import Inventory
from geoetl.models.refs import BlobRef
from geoetl.worker.client import submit
from tests.acceptance.conftest import ROOT

PAGE = (ROOT / "docs" / "howto" / "add-a-job-type.md").read_text()


def test_the_code_on_the_page_is_the_code_that_runs():
    shown = dict(re.findall(r"`(geoetl/[\w/]+\.py)`[^\n]*(?:\n[^\n`]+)*:\n\n```python\n(.*?)```", PAGE, re.DOTALL))

    assert set(shown) >= {
        "geoetl/models/inventory.py",
        "geoetl/tasks/inventory/stock.py",
        "geoetl/chains/inventory.py",
    }
    assert {path: (ROOT / path).read_text() for path in shown} == shown


def test_every_line_of_the_page_that_registers_something_is_there():
    (row,) = re.findall(r"```python\n(TaskName\..*)\n```", PAGE)

    assert row in (ROOT / "geoetl" / "models" / "tasks.py").read_text()
    assert (ROOT / "geoetl" / "tasks" / "inventory" / "tasks.py").read_text() in PAGE


def test_a_job_type_fits_a_hundred_lines_and_knows_neither_celery_nor_sql():
    text = (ROOT / "geoetl" / "chains" / "inventory.py").read_text()

    assert len(text.splitlines()) <= 100
    assert not re.search(r"celery|psycopg|SELECT", text)


def test_an_inventory_lists_every_blob_with_its_checksum(installation, a_worker):
    prefix = f"stock-{uuid.uuid4().hex[:8]}/"
    contents = {f"{prefix}{n}.bin": bytes([n]) * n * 1000 for n in range(7)}
    for path, content in contents.items():
        installation.put(path, content)

    job = submit(Inventory(container="bronze", prefix=prefix, per_task=3), services=installation.services)
    result = job.wait(timeout_s=60)

    assert [stage.size for stage in job.status().stages] == [1, 3, 1]
    target = BlobRef(result["target"])
    text = installation.services.store.read_range(target, offset=0, length=1_000_000).decode()
    lines = {line["blob"]: line["sha256"] for line in csv.DictReader(text.splitlines())}
    assert lines == {
        f"bronze://bronze/{path}": hashlib.sha256(content).hexdigest() for path, content in contents.items()
    }


@pytest.mark.parametrize("command", re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[0].splitlines())
def test_a_command_of_the_page_works(installation, a_worker, command):
    done = installation.geoetl(*shlex.split(command)[1:])

    assert done.returncode == 0, done.stderr
