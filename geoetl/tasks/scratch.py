"""Scratch folders of attempts, and the sweep of those whose process was killed.

A folder's name tells its process: host, pid, and when that process began, so that a later process of the same pid is
not taken for it. The folder may lie on a disk that hosts share: each sweeps its own.
"""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "geoetl-attempt-"
_NAME = re.compile(rf"{_PREFIX}(?P<host>.+)-(?P<pid>[0-9]+)-(?P<began>[0-9]+)-[^-]+")
#: Place of the start time (clock ticks since boot) behind the name in /proc/<pid>/stat, see proc(5).
_BEGAN = 19


@contextmanager
def scratch_folder(root: Path) -> Generator[Path]:
    """An empty folder below ``root`` for the block; removed after it."""
    pid = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{socket.gethostname()}-{pid}-{_began(pid)}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(root: Path) -> list[Path]:
    """Remove folders below ``root`` whose process is gone from this host; which they were."""
    removed: list[Path] = []
    for folder in root.glob(f"{_PREFIX}*"):
        found = _NAME.fullmatch(folder.name)
        if found is None or found["host"] != socket.gethostname():
            continue
        if _began(int(found["pid"])) != int(found["began"]):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _began(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[_BEGAN])
