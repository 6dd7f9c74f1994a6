import os
from pathlib import Path

import pytest

from geoetl.local.processes import Process


def test_this_process_is_recognised_after_reading_its_record(tmp_path: Path):
    me = Process.of(os.getpid())
    assert me is not None
    me.write(tmp_path / "me.json")
    assert Process.read(tmp_path / "me.json") == me
    assert me.is_running


def test_a_number_that_was_given_to_another_process_is_not_ours(tmp_path: Path):
    me = Process.of(os.getpid())
    assert me is not None
    recycled = Process(pid=me.pid, started="an earlier boot:1")
    assert not recycled.is_running
    # Neither signal may reach the process that has the number now: this one.
    recycled.stop()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "started": ""}', '{"pid": 1}'])
def test_a_broken_record_is_no_record(text: str, tmp_path: Path):
    (tmp_path / "record.json").write_text(text)
    assert Process.read(tmp_path / "record.json") is None
