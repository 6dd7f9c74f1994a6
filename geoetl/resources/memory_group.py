"""The memory that the processes of this worker share: a control group's, else the machine's.

Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html, "Memory"; version 1 in
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Version 1 says "no limit" with the largest multiple of a page.
_NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class _Version:
    """Names of one version's files, and the field of ``memory.stat`` that can be dropped at once."""

    limit: str
    usage: str
    reclaimable: str
    kills: str


_V2 = _Version("memory.max", "memory.current", "inactive_file", "memory.events")
_V1 = _Version("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A group of processes with one limit."""

    name: str
    """Tells it from other groups of this machine."""
    limit_bytes: int
    _limiting: Path | None
    """The group whose limit it is: this process's, or one around it. None: only the machine limits."""
    _own: Path | None
    _files: _Version
    _root: Path

    @property
    def is_machine(self) -> bool:
        return self._limiting is None

    def used_bytes(self) -> int:
        """In use, without what the kernel can drop at once."""
        if self._limiting is None:
            memory = _fields(self._root / "proc/meminfo")
            return (memory["MemTotal"] - memory["MemAvailable"]) * 1024
        usage = int((self._limiting / self._files.usage).read_text())
        return usage - _fields(self._limiting / "memory.stat").get(self._files.reclaimable, 0)

    def oom_kills(self) -> int:
        """How many processes the kernel has ended for want of memory; it only rises."""
        if self._own is not None and (found := _fields(self._own / self._files.kills).get("oom_kill")) is not None:
            return found
        return _fields(self._root / "proc/vmstat").get("oom_kill", 0)


def memory_group(root: Path = Path("/")) -> MemoryGroup:
    """The group of this process.

    Args:
        root: Of the file system, for tests.
    """
    total = _fields(root / "proc/meminfo")["MemTotal"] * 1024
    own, mount, files = _own_group(root)
    limiting: Path | None = None
    limit = total
    for group in _upwards(own, mount):
        found = _limit(group / files.limit)
        if found < limit:
            limit, limiting = found, group
    name = "machine" if limiting is None else limiting.relative_to(root).as_posix()
    return MemoryGroup(name, limit, limiting, own, files, root)


def _own_group(root: Path) -> tuple[Path | None, Path, _Version]:
    """This process's folder (None where there is none), the folder of all groups, and its version."""
    mounts = {_V1: root / "sys/fs/cgroup/memory", _V2: root / "sys/fs/cgroup"}
    found: dict[_Version, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found[_V2] = path
        elif "memory" in controllers.split(","):
            found[_V1] = path
    # A machine with both has the memory controller in version 1.
    for files in (_V1, _V2):
        if files in found:
            # Without a namespace of its own a container sees the host's path, and its group at the top.
            for own in (mounts[files] / found[files].lstrip("/"), mounts[files]):
                if (own / files.limit).exists() or (own / files.kills).exists():
                    return own, mounts[files], files
    return None, mounts[_V2], _V2


def _upwards(own: Path | None, mount: Path) -> Iterator[Path]:
    while own is not None and own.is_relative_to(mount):
        yield own
        own = own.parent


def _limit(path: Path) -> int:
    text = next(iter(_lines(path)), "max").strip()
    return _NO_LIMIT if text == "max" else min(int(text), _NO_LIMIT)


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    words = (line.replace(":", "").split() for line in _lines(path))
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdigit()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
