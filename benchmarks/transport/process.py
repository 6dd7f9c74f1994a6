"""Child processes: started on free ports in a temporary folder, measured from `/proc`, stopped by their own id."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT_S = 30.0


class GaveUpError(Exception):
    """Something did not happen in time; the message names the log to read."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_until(fact: Callable[[], object], *, timeout_s: float, what: str, every_s: float = 0.01) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        if time.monotonic() > deadline:
            raise GaveUpError(f"{what} did not happen within {timeout_s:.0f} s")
        time.sleep(every_s)


class Process:
    """A process in a group of its own, with its output in a file."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def wait_for(self, text: str, *, timeout_s: float = 60) -> None:
        """Wait for a word in the log."""

        def said() -> bool:
            if self.has_ended:
                raise GaveUpError(f"the process ended with {self._popen.returncode}; see {self.log}")
            return text in self.log.read_text(errors="replace")

        wait_until(said, timeout_s=timeout_s, what=f"{text!r} in {self.log}")

    def stop(self) -> float:
        """Ask it to end, and kill it and its children when it does not; how long that took, in seconds."""
        begin = time.monotonic()
        if not self.has_ended:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - begin

    def kill(self) -> None:
        if not self.has_ended:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait(5)

    # -- what it uses ----------------------------------------------------------------------------------------------

    def tree(self) -> list[int]:
        """It and its children."""
        return [self.pid, *children(self.pid)]

    def cpu_s(self) -> float:
        """Processor time of the live threads of it and its children, to the nanosecond."""
        return sum(_cpu_of(pid) for pid in self.tree())

    def threads(self) -> int:
        """Threads of the process itself."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def rss_mb(self) -> float:
        """Resident memory of the process itself."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_of(pid: int) -> float:
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total_ns += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:  # the thread ended meanwhile
            continue
    return total_ns / 1e9
