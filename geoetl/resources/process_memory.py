"""What a process takes of the memory (Linux: ``/proc``, man 5 proc)."""

import os
from pathlib import Path

_KIB = 1024


def private_bytes(pid: int) -> int:
    """Resident memory of a process that no file backs; 0 where it has ended.

    Pages of libraries are shared by all workers and can be dropped, so they do not count.
    """
    fields = _status(pid)
    return fields.get("RssAnon", 0) + fields.get("RssShmem", 0)


def data_bytes(pid: int) -> int:
    """Virtual size of a process's private writable memory: what RLIMIT_DATA limits."""
    return _status(pid).get("VmData", 0)


def reset_peak() -> None:
    """Let ``peak_rss_bytes`` begin anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # a kernel without it, or a sandbox that forbids it: then the peak is that of the process's life


def peak_rss_bytes() -> int:
    """The most that this process has held since the last ``reset_peak``."""
    return _status(os.getpid()).get("VmHWM", 0)


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {
        name: int(rest.split()[0]) * _KIB for name, _, rest in (line.partition(":") for line in lines) if " kB" in rest
    }
