"""What a process takes of the memory (Linux: ``/proc``, man 5 proc)."""

import ctypes
import os
from contextlib import suppress

_KIB = 1024
#: Of glibc's <malloc.h>, man 3 mallopt.
_M_ARENA_MAX = -8
#: Larger than any ``/proc/<pid>/status``.
_READ_BYTES = 16_384


def private_bytes(pid: int) -> int:
    """Resident memory of a process that no file backs; 0 where it has ended.

    Pages of libraries are shared by all workers and can be dropped, so they do not count.
    """
    return _status(pid, "RssAnon", "RssShmem")


def data_bytes(pid: int) -> int:
    """Virtual size of a process's private writable memory: what RLIMIT_DATA limits."""
    return _status(pid, "VmData")


def reset_peak() -> None:
    """Let ``peak_rss_bytes`` begin anew."""
    # Plain descriptors here and below: both are asked for by every task, however short.
    try:
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return  # a kernel without it, or a sandbox that forbids it: then the peak is that of the process's life
    try:
        os.write(file, b"5")
    except OSError:
        return
    finally:
        os.close(file)


def peak_rss_bytes() -> int:
    """The most that this process has held since the last ``reset_peak``."""
    return _status(os.getpid(), "VmHWM")


def few_arenas() -> None:
    """Have threads share two of the C library's heaps. Call before there are threads; forked processes inherit it.

    glibc gives each thread one, eight for a processor, and what is freed in a heap only serves the threads of that one.
    """
    with suppress(AttributeError):  # not a call of every C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def return_free_memory() -> None:
    """Give back to the system what the C library keeps of freed memory: of a large raster, hundreds of megabytes."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(pid: int, *fields: str) -> int:
    """The sum of some fields of ``/proc/<pid>/status``, in bytes; 0 where the process has ended."""
    try:
        file = os.open(f"/proc/{pid}/status", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    try:
        text = os.read(file, _READ_BYTES)
    except ProcessLookupError:
        return 0
    finally:
        os.close(file)
    return sum(_kib(text, b"\n%b:" % field.encode()) for field in fields) * _KIB


def _kib(text: bytes, label: bytes) -> int:
    start = text.find(label)
    return int(text[start + len(label) : text.index(b" kB", start)]) if start >= 0 else 0
