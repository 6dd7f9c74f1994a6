"""Who is ended when memory runs out."""

from dataclasses import dataclass

import pytest

from geoetl.resources.memory_watch import MemoryWatch, Worker


@dataclass
class Group:
    is_machine: bool = False
    limit_bytes: int = 1000 * 2**30
    used: int = 0
    kills: int = 0

    def used_bytes(self) -> int:
        return self.used

    def oom_kills(self) -> int:
        return self.kills


def watch(group: Group, limit_bytes: int | None = None) -> MemoryWatch:
    return MemoryWatch(group, limit_bytes or group.limit_bytes)  # type: ignore[arg-type]


def test_the_one_furthest_above_its_estimate_is_ended_not_the_largest():
    large, greedy, gone = Worker(1, 900, 1000), Worker(2, 500, 100), Worker(3, 0, 0)

    assert watch(Group()).victim([large, greedy, gone]) is greedy


@pytest.mark.parametrize(
    ("is_machine", "limit", "ended"), [(True, None, False), (True, 500, True), (False, None, True)]
)
def test_on_a_bare_machine_nobody_is_ended_for_what_others_take(is_machine, limit, ended):
    modest = Worker(1, 90, 100)

    assert (watch(Group(is_machine), limit).victim([modest]) is modest) is ended


def test_it_is_tight_when_the_group_or_its_own_processes_reach_the_limit():
    group = Group()
    assert watch(group).tight() is None

    group.used = group.limit_bytes
    assert "of the container's" in (watch(group).tight() or "")
    assert "this worker's processes" in (watch(Group(), 1024).tight() or "")


def test_a_kill_by_the_kernel_is_noticed_by_its_count():
    group = Group(kills=4)
    watching = watch(group)
    assert not watching.was_killed_by_kernel()

    group.kills = 5
    assert watching.was_killed_by_kernel()
