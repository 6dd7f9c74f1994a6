"""Processes that outlive the command which starts them: recorded, recognised again, stopped whole. Linux only."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from geoetl.errors import SystemFault

#: How often a starting service is asked whether it is ready, in milliseconds.
_READY_POLL_MS = 50


class StartFailed(SystemFault):
    """A process of the embedded stack could not be started, or ended before it was ready."""

    default_code = "start-failed"


@dataclass(frozen=True, slots=True)
class Process:
    """A process by number *and* start time: a number alone may belong to somebody else by now."""

    pid: int
    started: str
    """Boot id and start in clock ticks since boot (proc(5), ``/proc/pid/stat`` field 22)."""

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The process that has this number now; None where none has, or it has ended and was not waited for."""
        stat = _stat(pid)
        if stat is None or stat.state in {"Z", "X"}:
            return None
        return cls(pid=pid, started=f"{_boot_id()}:{stat.start_ticks}")

    @classmethod
    def read(cls, record: Path) -> "Process | None":
        """The recorded process, whether it still runs or not; None where there is no readable record."""
        try:
            fields = json.loads(record.read_text())
            return cls(pid=int(fields["pid"]), started=str(fields["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            # A record that was cut by a crash says nothing; the component looks for its process by other means.
            return None

    def write(self, record: Path) -> None:
        """Record it for the next command."""
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(record)

    @property
    def is_running(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within the time. Reaps it where it is a child of this process."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.is_running:
                return True
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            has_ended = bool(poller.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)
        if has_ended:
            _reap(self.pid)
        return has_ended

    def stop(self, *, stop_signal: signal.Signals = signal.SIGTERM, grace_s: float = 10) -> None:
        """Ask it to end, kill it after ``grace_s``, then kill what is left of its process group."""
        if self.is_running:
            _send(self.pid, stop_signal)
            if not self.wait(grace_s):
                _send(self.pid, signal.SIGKILL)
                self.wait(grace_s)
        self.kill_group()

    def kill_group(self) -> None:
        """Kill the processes that were started in its group and outlived it."""
        if Process.of(self.pid) is not None:
            # The number was given to a new process, which the kernel does only after the old group has emptied.
            return
        for member in _group(self.pid):
            _send(member.pid, signal.SIGKILL)
            member.wait(timeout_s=5)


def run(command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a short command to its end, in the root folder, its output captured; 127 where there is no such program."""
    try:
        return subprocess.run(  # noqa: S603  # commands are built by this package, no shell is involved
            command, capture_output=True, text=True, check=False, cwd="/", env=environ, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as exc:
        return subprocess.CompletedProcess(args=command, returncode=127, stdout="", stderr=str(exc))


def start(command: Sequence[str], *, log: Path, record: Path, environ: Mapping[str, str] | None = None) -> Process:
    """Start ``command`` in a session of its own, its output appended to ``log``, recorded in ``record``.

    Raises:
        StartFailed: There is no such program.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    record.parent.mkdir(parents=True, exist_ok=True)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        # posix_spawn, not subprocess: a Popen object would complain when it is dropped while its process runs on.
        pid = os.posix_spawnp(
            command[0],
            list(command),
            dict(os.environ if environ is None else environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), appending, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except OSError as exc:
        raise StartFailed(f"Starting {command[0]} failed: {exc}.") from exc
    process = Process.of(pid)
    if process is None:
        _reap(pid)
        raise StartFailed(f"{command[0]} ended at once. Its last words in {log}:\n{tail(log)}")
    process.write(record)
    return process


def wait_until_ready(process: Process, is_ready: Callable[[], bool], *, what: str, log: Path, timeout_s: float) -> None:
    """Return when ``is_ready()`` says so; the process ending meanwhile is noticed at once.

    Raises:
        StartFailed: It ended, or was not ready in time. The process is left as it is.
    """
    deadline = time.monotonic() + timeout_s
    while not is_ready():
        # Asking is all one can do with somebody else's server; waiting on the process's end makes the wait useful.
        if process.wait(_READY_POLL_MS / 1000):
            raise StartFailed(f"{what} ended before it was ready. Its last words in {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{what} was not ready after {timeout_s:g} s. Its last words in {log}:\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for a message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    group: int
    start_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        # The name is in parentheses and may hold spaces and parentheses itself: split after the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(state=fields[0], group=int(fields[2]), start_ticks=int(fields[19]))


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _group(group: int) -> list[Process]:
    members: list[Process] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            process = Process.of(int(entry.name)) if stat and stat.group == group else None
            if process:
                members.append(process)
    return members


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
