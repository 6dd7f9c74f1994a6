"""A private PostgreSQL cluster from Debian's packages: own data folder, Unix socket only, no system service."""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoetl.config.database import DatabaseTarget
from geoetl.db.connections import DatabaseUnavailable, connect
from geoetl.errors import SystemFault
from geoetl.local.component import Health, ToolMissing
from geoetl.local.processes import Process, run, start, wait_until_ready

#: Where Debian keeps one folder per major version.
_DEBIAN_ROOT = Path("/usr/lib/postgresql")
#: Fits ``sun_path`` (108 bytes, unix(7)) together with the socket's own name.
_MAX_SOCKET_DIR_CHARS = 80
#: A cluster without TCP needs no free port; the number is only part of the socket's name.
_PORT = 5432
SUPERUSER = "postgres"

#: For clusters that live as long as a test run: a crash of the machine may lose them, a kill of the server may not
#: (so ``synchronous_commit`` stays on: without it a commit may still be in the server's memory when it is killed).
_EPHEMERAL = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Launcher:
    """How to run PostgreSQL's programs, which refuse to run as root."""

    prefix: tuple[str, ...]
    owner: str | None = None
    """User that must own the data folder; None: the current one."""

    @classmethod
    def choose(cls) -> "Launcher":
        """The first way that works here: as we are, in a user namespace, as the user ``postgres``.

        Raises:
            ToolMissing: Root, without user namespaces, and without a user ``postgres``.
        """
        if os.geteuid() != 0:
            return cls(prefix=())
        # A user namespace maps root to an ordinary user: files stay ours, and no other account is needed.
        namespace = cls(prefix=("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"))
        # Containers often forbid namespaces; then Debian's own account must do.
        account = cls(
            prefix=("setpriv", f"--reuid={SUPERUSER}", f"--regid={SUPERUSER}", "--init-groups", "--"), owner=SUPERUSER
        )
        for launcher in (namespace, account):
            if launcher.works():
                return launcher
        raise ToolMissing(
            "PostgreSQL refuses to run as root; neither `unshare --user` nor `setpriv --reuid=postgres` works here.",
            hint="Run as an ordinary user.",
        )

    def works(self) -> bool:
        """Whether a program can be run this way."""
        return run([*self.prefix, "true"]).returncode == 0

    def can_enter(self, folder: Path) -> bool:
        """Whether a program run this way may enter the folder."""
        return run([*self.prefix, "test", "-x", str(folder)]).returncode == 0

    def give(self, folder: Path) -> None:
        """Make ``folder`` belong to the user that PostgreSQL will run as."""
        if self.owner is not None:
            account = pwd.getpwnam(self.owner)
            os.chown(folder, account.pw_uid, account.pw_gid)


def find_programs(root: Path = _DEBIAN_ROOT) -> Path:
    """The folder of the newest PostgreSQL that has PostGIS, else of the ``postgres`` on the path.

    Raises:
        ToolMissing: There is none.
    """
    for folder in sorted(root.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]), reverse=True):
        share = Path("/usr/share/postgresql") / folder.parts[-3]
        if (share / "extension" / "postgis.control").is_file():
            return folder.parent
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent
    raise ToolMissing(
        f"No PostgreSQL with PostGIS was found under {root} or on the path.",
        hint="On Debian: `apt-get install --no-install-recommends postgresql-15 postgresql-15-postgis-3`.",
    )


class PostgresCluster:
    """One cluster of the embedded stack, or of a test run.

    Access is guarded by the socket's folder, which only its owner may enter; inside, every role may log in without a
    password, so what a role may do is up to PostgreSQL's own grants.
    """

    name = "postgres"

    def __init__(
        self, *, folder: Path, log: Path, record: Path, is_ephemeral: bool = False, launcher: Launcher | None = None
    ) -> None:
        """A cluster that lives in ``folder``; its data goes elsewhere where PostgreSQL could not enter that.

        Args:
            folder: Where the data goes.
            log: What PostgreSQL has to say is appended to it.
            record: Where the running server's number is kept.
            is_ephemeral: Trade safety against a crash of the machine for speed.
            launcher: How to run PostgreSQL's programs; None: the first way that works here.
        """
        self._folder = folder.absolute()
        self._log = log
        self._record = record
        self._options = _EPHEMERAL if is_ephemeral else {}
        key = hashlib.sha256(str(self._folder).encode()).hexdigest()[:10]
        self._key = f"geoetl-{os.geteuid()}-{key}"
        self._launcher = launcher

    @property
    def socket_dir(self) -> Path:
        """Folder of the Unix socket: short, and the same at every start."""
        temporary = Path(tempfile.gettempdir())
        if len(str(temporary)) + len(self._key) > _MAX_SOCKET_DIR_CHARS:
            temporary = Path("/tmp")  # noqa: S108  # the folder in it is ours alone, see _make_socket_dir
        return temporary / self._key

    def target(self, dbname: str = "postgres", user: str = SUPERUSER) -> DatabaseTarget:
        """How to reach a database of this cluster as a role."""
        return DatabaseTarget(host=str(self.socket_dir), port=_PORT, dbname=dbname, user=user)

    def start(self) -> None:
        """Create the cluster where there is none, and start it where it does not run.

        Raises:
            StartFailed: PostgreSQL did not come up; its last words are in the message.
            ToolMissing: PostgreSQL or a way to run it is missing.
        """
        process = self._running()
        if process is None:
            data = self._ensure_data()
            self._clear_stale(data)
            self._make_socket_dir()
            options = {
                "listen_addresses": "",
                "unix_socket_directories": str(self.socket_dir),
                "port": str(_PORT),
                "max_connections": "200",
                "jit": "off",
                **self._options,
            }
            settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
            command = [*self._launch.prefix, str(find_programs() / "postgres"), "-D", str(data), *settings]
            process = start(command, log=self._log, record=self._record)
        wait_until_ready(process, self._answers, what="PostgreSQL", log=self._log, timeout_s=60)

    def stop(self) -> None:
        """End all sessions, write everything to disk, stop."""
        process = self._running()
        if process is not None:
            # SIGINT is PostgreSQL's fast shutdown: roll back what runs, then a clean stop (PostgreSQL manual 19.5).
            process.stop(stop_signal=signal.SIGINT, grace_s=30)
        self._record.unlink(missing_ok=True)
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def remove(self) -> None:
        """Delete the data. The cluster must be stopped."""
        shutil.rmtree(self._data_dir, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def health(self) -> Health:
        """By a query as superuser."""
        if self._running() is None:
            return Health(state="stopped")
        try:
            with connect(self.target(), application_name="geoetl health") as connection:
                row = connection.execute("SELECT current_setting('server_version')").fetchone()
        except DatabaseUnavailable as exc:
            return Health(state="unhealthy", detail=str(exc))
        return Health(state="healthy", detail=f"PostgreSQL {row[0] if row else '?'} at {self.socket_dir}")

    @property
    def _launch(self) -> Launcher:
        if self._launcher is None:
            self._launcher = Launcher.choose()
        return self._launcher

    @property
    def _data_dir(self) -> Path:
        if self._launch.owner is None or self._launch.can_enter(self._existing(self._folder)):
            return self._folder / "data"
        # The account postgres may not enter, say, root's home; its own home is the place Debian made for clusters.
        return Path(pwd.getpwnam(self._launch.owner).pw_dir) / self._key

    @staticmethod
    def _existing(folder: Path) -> Path:
        return next(path for path in (folder, *folder.parents) if path.exists())

    def _ensure_data(self) -> Path:
        data = self._data_dir
        if not data.exists():
            fresh = data.with_name(data.name + ".new")
            # What an interrupted initdb left behind; only a finished one is given the final name.
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True, mode=0o700)
            self._launch.give(fresh)
            self._run([
                "initdb", "-D", str(fresh), "-U", SUPERUSER, "--auth-local=trust", "--auth-host=reject",
                "--no-sync", "-E", "UTF8", "--locale=C.UTF-8",
            ])  # fmt: skip
            fresh.rename(data)
        return data

    def _run(self, arguments: Sequence[str]) -> None:
        program = find_programs() / arguments[0]
        done = run([*self._launch.prefix, str(program), *arguments[1:]])
        if done.returncode != 0:
            raise SystemFault(f"{arguments[0]} failed for {arguments[2]}: {done.stderr.strip() or done.stdout.strip()}")

    def _running(self) -> Process | None:
        process = Process.read(self._record)
        if process is not None and process.is_running:
            return process
        return self._adopt()

    def _adopt(self) -> Process | None:
        """The server of our data folder whose record was lost, recorded again."""
        if not self._folder.exists():
            return None
        try:
            pid = int((self._data_dir / "postmaster.pid").read_text().splitlines()[0])
            # A postmaster works in its data folder; a stranger that was given its number does not.
            is_ours = Path(f"/proc/{pid}/cwd").readlink() == self._data_dir
        except (OSError, ValueError, IndexError):
            return None
        process = Process.of(pid) if is_ours else None
        if process is not None:
            process.write(self._record)
        return process

    def _clear_stale(self, data: Path) -> None:
        # No server of ours runs (see _adopt). After a power cut the file may name a number that now is somebody
        # else's process, and PostgreSQL would refuse to start.
        (data / "postmaster.pid").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for left in self.socket_dir.iterdir():
                left.unlink()

    def _make_socket_dir(self) -> None:
        folder = self.socket_dir
        folder.mkdir(mode=0o700, exist_ok=True)
        owners = {os.geteuid()} | ({pwd.getpwnam(self._launch.owner).pw_uid} if self._launch.owner else set())
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid not in owners:
            raise SystemFault(
                f"The folder {folder} for PostgreSQL's socket exists and is not ours (its owner is {status.st_uid}).",
                hint="Remove it, or set TMPDIR to a folder of your own.",
            )
        self._launch.give(folder)

    def _answers(self) -> bool:
        try:
            connect(self.target(), application_name="geoetl start").close()
        except DatabaseUnavailable:
            return False
        return True
