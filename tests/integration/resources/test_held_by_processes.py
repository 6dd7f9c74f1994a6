"""What processes hold is free when they end, however they end."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from geoetl.resources.allocation_limit import allocation_limit
from geoetl.resources.memory_room import MemoryRoom, NoRoom, Share
from geoetl.resources.process_memory import peak_rss_bytes, private_bytes, reset_peak
from geoetl.resources.scratch import scratch_folder, sweep, used_bytes

MIB = 2**20
TAKE = "from geoetl.resources.memory_room import MemoryRoom; held = MemoryRoom(folder, 100).take(60)"
SCRATCH = (
    "from geoetl.resources.scratch import scratch_folder; held = scratch_folder(folder); "
    "made = held.__enter__(); (made / 'file').write_bytes(b'x')"
)


@pytest.fixture
def process() -> Generator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Start a process that does something with a folder and then waits."""
    started: list[subprocess.Popen[str]] = []

    def start(what: str, folder: Path) -> subprocess.Popen[str]:
        code = f"from pathlib import Path; folder = Path({str(folder)!r}); {what}; print('held', flush=True); input()"
        command = [sys.executable, "-c", code]
        begun = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(begun)
        assert begun.stdout
        assert begun.stdout.readline() == "held\n"
        return begun

    yield start
    for each in started:
        each.kill()
        each.communicate()


def test_memory_that_a_killed_process_held_is_free(process, tmp_path):
    other = process(TAKE, tmp_path)
    room = MemoryRoom(tmp_path, 100)
    assert room.take(50) == NoRoom(wanted_bytes=50, taken_bytes=60, budget_bytes=100)
    small = room.take(40)
    assert isinstance(small, Share)
    assert small.allowed_bytes == 40

    other.kill()
    other.wait()

    assert isinstance(room.wait(50, within_s=0), Share)


def test_what_is_larger_than_all_memory_begins_alone(tmp_path):
    room = MemoryRoom(tmp_path, 100)
    share = room.take(500)
    assert isinstance(share, Share)
    assert isinstance(room.take(1), NoRoom)

    share.release()
    share.release()

    assert isinstance(room.take(1), Share)


def test_scratch_of_a_killed_process_is_swept_and_that_of_a_live_one_is_not(process, tmp_path):
    dead, alive = process(SCRATCH, tmp_path), process(SCRATCH, tmp_path)
    dead.kill()
    dead.wait()

    with scratch_folder(tmp_path) as mine:
        (mine / "one").write_bytes(b"x" * 5000)
        assert used_bytes(mine) >= 5000
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2

    alive.kill()
    alive.wait()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_peak_begins_anew_and_what_is_held_is_seen():
    held = b"\1" * (200 * MIB)
    assert private_bytes(os.getpid()) > 200 * MIB
    before = peak_rss_bytes()
    del held

    reset_peak()

    assert peak_rss_bytes() < before - 100 * MIB


def test_an_allocation_beyond_the_limit_fails_and_one_after_it_does_not():
    with allocation_limit(100 * MIB), pytest.raises(MemoryError):
        _ = b"\1" * (300 * MIB)
    assert len(b"\1" * (300 * MIB)) == 300 * MIB


def test_what_threads_have_freed_is_given_back():
    code = """
import os, threading
from geoetl.resources.process_memory import few_arenas, private_bytes, return_free_memory

def allocate(kept):
    pieces = [bytes([1]) * 100_000 for _ in range(500)]
    kept.append(pieces[-1])  # what is above all others in its heap

few_arenas()
kept = []
threads = [threading.Thread(target=allocate, args=(kept,)) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
return_free_memory()
print(private_bytes(os.getpid()))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(answer.stdout) < 60 * MIB  # of 400 that were allocated
