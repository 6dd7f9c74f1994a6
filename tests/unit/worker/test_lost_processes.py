"""Why a process was lost."""

from dataclasses import dataclass

import pytest
from billiard.exceptions import WorkerLostError

from geoetl.errors import OutOfMemory
from geoetl.resources.memory_watch import MemoryWatch
from geoetl.worker.memory import explain_loss


@dataclass
class Group:
    is_machine: bool = False
    limit_bytes: int = 2**30
    kills: int = 0

    def oom_kills(self) -> int:
        return self.kills


@pytest.mark.parametrize(
    ("words", "kills", "is_memory"),
    [
        ("Worker exited prematurely: signal 9 (SIGKILL) Job: 5.", 1, True),
        ("Worker exited prematurely: signal 9 (SIGKILL) Job: 5.", 0, False),
        ("Worker exited prematurely: signal 6 (SIGABRT) Job: 5.", 0, True),
        ("Worker exited prematurely: signal 11 (SIGSEGV) Job: 5.", 1, False),
    ],
)
def test_a_loss_is_explained_by_its_signal_and_the_kernels_count(words, kills, is_memory):
    group = Group()
    watch = MemoryWatch(group, group.limit_bytes)  # type: ignore[arg-type]
    group.kills = kills

    assert isinstance(explain_loss(watch, WorkerLostError(words)), OutOfMemory) is is_memory


def test_other_errors_are_what_they_are():
    group = Group()
    error = ValueError("signal 6 ")

    assert explain_loss(MemoryWatch(group, 1), error) is error  # type: ignore[arg-type]
