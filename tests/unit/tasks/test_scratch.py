"""Scratch folders of killed processes are removed, those of live ones never."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from geoetl.tasks.scratch import scratch_folder, sweep_scratch

HALF_DONE = """
import sys, time
from pathlib import Path
from geoetl.tasks.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half.tif").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    time.sleep(60)
"""


def killed_with_a_folder(root: Path) -> Path:
    """What a process leaves that is killed in the middle of its attempt."""
    with subprocess.Popen([sys.executable, "-c", HALF_DONE, str(root)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        process.kill()
    return folder


def test_a_folder_is_there_for_the_attempt_and_gone_after_it(tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert list(folder.iterdir()) == []
        assert list(tmp_path.iterdir()) == [folder]

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    folder = killed_with_a_folder(tmp_path)

    assert sweep_scratch(tmp_path) == [folder]

    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_live_process_stays(tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert sweep_scratch(tmp_path) == []
        assert folder.is_dir()


def test_a_later_process_of_the_same_pid_is_another(tmp_path):
    left = tmp_path / f"geoetl-attempt-{socket.gethostname()}-{os.getpid()}-1-abc"
    left.mkdir()

    assert sweep_scratch(tmp_path) == [left]


def test_folders_of_other_hosts_and_of_others_stay(tmp_path):
    others = {tmp_path / "geoetl-attempt-elsewhere-999999-1-abc", tmp_path / "geoetl-tests-1", tmp_path / "photos"}
    for folder in others:
        folder.mkdir()

    assert sweep_scratch(tmp_path) == []
    assert set(tmp_path.iterdir()) == others
