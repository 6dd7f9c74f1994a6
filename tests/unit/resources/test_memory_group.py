"""Which limit of memory this process is under, from files as the kernel shows them."""

import pytest

from geoetl.resources.memory_group import memory_group

MEMINFO = "MemTotal:       8388608 kB\nMemFree:  1 kB\nMemAvailable:   4194304 kB\n"
GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """Write files below a root that stands for ``/``."""

    def write(**files: str):
        for name, content in {"proc/meminfo": MEMINFO, "proc/vmstat": "oom_kill 3\n", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return memory_group(tmp_path)

    return write


def test_a_machine_without_groups_has_its_own_memory(machine):
    group = machine()

    assert (group.limit_bytes, group.used_bytes(), group.oom_kills()) == (8 * GIB, 4 * GIB, 3)
    assert group.is_machine


def test_the_tightest_group_around_the_process_limits_it(machine):
    group = machine(**{
        "proc/self/cgroup": "0::/pod/worker\n",
        "sys/fs/cgroup/pod/memory.max": f"{2 * GIB}\n",
        "sys/fs/cgroup/pod/memory.current": f"{GIB}\n",
        "sys/fs/cgroup/pod/memory.stat": "anon 5\ninactive_file 4096\n",
        "sys/fs/cgroup/pod/worker/memory.max": "max\n",
        "sys/fs/cgroup/pod/worker/memory.events": "oom 2\noom_kill 1\n",
    })  # fmt: skip

    assert (group.limit_bytes, group.used_bytes(), group.oom_kills()) == (2 * GIB, GIB - 4096, 1)
    assert not group.is_machine


def test_a_group_of_version_1_in_a_container_is_found_at_the_top(machine):
    group = machine(**{
        "proc/self/cgroup": "4:memory:/docker/0123\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB // 2}\n",
        "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 1024\n",
        "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
    })  # fmt: skip

    assert (group.limit_bytes, group.used_bytes(), group.oom_kills()) == (GIB, GIB // 2 - 1024, 7)


def test_a_limit_beyond_the_machines_memory_is_none(machine):
    group = machine(**{
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    })  # fmt: skip

    assert (group.limit_bytes, group.is_machine) == (8 * GIB, True)
