"""Files that are held by a living process: the kernel lets go of them with the process, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4


class HeldFile:
    """A file of a name of its own, locked (``flock``) until it is released or this process ends.

    Seen from every process that sees the folder, in other containers too. A pid would not do there: pids are reused,
    and those of another container are not visible.
    """

    def __init__(self, folder: Path, prefix: str, suffix: str) -> None:
        while True:
            self.path = folder / f"{prefix}{uuid4().hex[:12]}{suffix}"
            self._fd: int | None = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._fd).st_nlink:
                    return
            except BlockingIOError:
                pass
            # A sweep took the new file for a dead one's before it was locked.
            os.close(self._fd)

    def release(self) -> None:
        """Remove the file; a second time does nothing."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """One process at a time; waits for the others."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def left_behind(path: Path) -> Generator[bool]:
    """Whether nobody holds ``path`` any more; within the block nobody else will find so. Removed afterwards, if so."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_left = os.fstat(fd).st_nlink > 0
    except BlockingIOError:
        is_left = False
    try:
        yield is_left
        if is_left:
            path.unlink(missing_ok=True)
    finally:
        os.close(fd)
