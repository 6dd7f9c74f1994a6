"""The embedded stack: everything geoetl needs, as processes of one user on one machine, in one folder."""

import fcntl
import shutil
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoetl.config.sources import STACK_ENV_FILE
from geoetl.db.connections import connect
from geoetl.db.pgstac import bootstrap_pgstac
from geoetl.db.provision import Layout, provision
from geoetl.db.schema import DatabaseName, load_migrations, migrate
from geoetl.errors import GeoEtlError
from geoetl.local.azurite import Azurite
from geoetl.local.component import Component, Health, ignore_progress
from geoetl.local.emulator import Emulator
from geoetl.local.environment import database_variables, write_environment
from geoetl.local.flower import Flower
from geoetl.local.ports import Ports
from geoetl.local.postgres import PostgresCluster
from geoetl.local.processes import StartFailed
from geoetl.local.workers import Worker

type Progress = Callable[[str], None]

#: Decoded bytes above which a raster goes to the ``gdal`` queue.
_GDAL_THRESHOLD_BYTES = 20_000_000

_QUEUES = ("standard", "gdal")


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One line of `Stack.status`."""

    name: str
    health: Health
    log: Path


class Stack:
    """PostgreSQL with both databases, Azurite, the Service Bus emulator; workers and Flower on request.

    Every method may be called in any state, from several processes at once: they take turns. ``down`` leaves no
    process behind; data, ports and logs stay in the home folder until ``reset``.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self._layout = Layout()
        self._ports = Ports(self.home / "ports.json")
        self._progress: Progress = ignore_progress
        self._postgres = PostgresCluster(
            folder=self.home / "postgres", log=self._log("postgres"), record=self._record("postgres")
        )
        self._azurite = Azurite(
            folder=self.home / "azurite",
            ports=self._ports,
            log=self._log("azurite"),
            record=self._record("azurite"),
            progress=self._say,
        )
        self._emulator = Emulator(
            folder=self.home / "emulator",
            ports=self._ports,
            log=self._log("emulator"),
            record=self._record("emulator"),
        )
        self._services: tuple[Component, ...] = (self._postgres, self._azurite, self._emulator)
        self._workers: tuple[Component, ...] = tuple(
            Worker(
                queue=queue,
                home=self.home,
                log=self._log(f"worker-{queue}"),
                record=self._record(f"worker-{queue}"),
            )
            for queue in _QUEUES
        )
        self._flower = Flower(home=self.home, ports=self._ports, log=self._log("flower"), record=self._record("flower"))
        #: What uses the services.
        self._clients: tuple[Component, ...] = (*self._workers, self._flower)

    @property
    def environment_file(self) -> Path:
        """The variables that make a command use this stack; read by ``load_settings`` by itself."""
        return self.home / STACK_ENV_FILE

    def up(self, progress: Progress = ignore_progress, *, workers: bool = False, flower: bool = False) -> None:
        """Start what does not run, bring both databases up to date, write the environment file.

        Args:
            progress: Told in a few words what is going on.
            workers: Also start one worker for each queue.
            flower: Also start Flower.

        Raises:
            StartFailed: Something did not come up; what did come up runs on, `down` stops it.
            PortTaken: A port that stored addresses name belongs to another program.
        """
        with self._turn(progress):
            _all(self._services, self._start)
            self._prepare_databases()
            write_environment(self.environment_file, self._variables())
            if wanted := [*(self._workers if workers else ()), *([self._flower] if flower else ())]:
                _all(wanted, self._start)

    def down(self, progress: Progress = ignore_progress) -> None:
        """Stop everything, services last. Data stays."""
        if self.home.exists():
            with self._turn(progress):
                self._stop_all()

    def reset(self, progress: Progress = ignore_progress) -> None:
        """Stop everything and delete all data, ports and logs."""
        if self.home.exists():
            with self._turn(progress):
                self._stop_all()
                progress(f"deleting the data in {self.home}")
                for component in (*self._clients, *self._services):
                    component.remove()
                for folder in (self.home / "logs", self.home / "run"):
                    shutil.rmtree(folder, ignore_errors=True)
                for file in (self.home / "ports.json", self.environment_file):
                    file.unlink(missing_ok=True)

    def status(self) -> tuple[ComponentStatus, ...]:
        """The health of each component, asked now."""
        components = (*self._services, *self._clients)
        with ThreadPoolExecutor(len(components)) as pool:
            healths = list(pool.map(lambda component: component.health(), components))
        return tuple(
            ComponentStatus(name=component.name, health=health, log=self._log(component.name))
            for component, health in zip(components, healths, strict=True)
        )

    def _start(self, component: Component) -> None:
        self._say(f"starting {component.name}")
        component.start()

    def _stop_all(self) -> None:
        for group in (self._clients, self._services):
            _all(group, lambda component: component.stop())

    def _prepare_databases(self) -> None:
        self._say("preparing the databases")
        admin = self._postgres.target()
        provision(admin, self._layout)
        owner = self._postgres.target(self._layout.business_db, self._layout.migrator)
        bootstrap_pgstac(owner, admin=self._postgres.target(self._layout.business_db))
        owners: dict[DatabaseName, tuple[str, str]] = {
            "app": (self._layout.app_db, self._layout.app),
            "business": (self._layout.business_db, self._layout.migrator),
        }
        for database, (dbname, user) in owners.items():
            with connect(self._postgres.target(dbname, user), application_name="geoetl migrate") as connection:
                for migration in migrate(connection, load_migrations(database)):
                    self._say(f"migrated {database}: {migration}")

    def _variables(self) -> dict[str, str]:
        return {
            **database_variables("app", self._postgres.target(self._layout.app_db, self._layout.app)),
            **database_variables("business", self._postgres.target(self._layout.business_db, self._layout.worker)),
            # On one machine nothing is gained by keeping these from the workers: the socket's folder guards them all.
            **database_variables(
                "business_owner", self._postgres.target(self._layout.business_db, self._layout.migrator)
            ),
            **database_variables("admin", self._postgres.target()),
            "GEOETL_STORAGE__BRONZE__CONNECTION_STRING": self._azurite.connection_string,
            "GEOETL_STORAGE__SILVER__CONNECTION_STRING": self._azurite.connection_string,
            "GEOETL_BROKER__CONNECTION_STRING": self._emulator.connection_string,
            # Low, so that both queues have something to do on one machine.
            "GEOETL_RASTER__GDAL_THRESHOLD_BYTES": str(_GDAL_THRESHOLD_BYTES),
        }

    @contextmanager
    def _turn(self, progress: Progress) -> Generator[None]:
        """Hold the stack's lock: commands on one home run one after the other."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.home / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("waiting for another command on this stack")
                fcntl.flock(handle, fcntl.LOCK_EX)
            self._progress = progress
            try:
                yield
            finally:
                self._progress = ignore_progress

    def _say(self, line: str) -> None:
        self._progress(line)

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _record(self, name: str) -> Path:
        return self.home / "run" / f"{name}.json"


def _all(components: Sequence[Component], act: Callable[[Component], None]) -> None:
    """Do it to all at the same time; one error that names every component that failed."""
    with ThreadPoolExecutor(len(components)) as pool:
        futures = [pool.submit(act, component) for component in components]
    failed = [(component, future.exception()) for component, future in zip(components, futures, strict=True)]
    errors = [(component, error) for component, error in failed if error is not None]
    for _, error in errors:
        if not isinstance(error, GeoEtlError):
            raise error
    if len(errors) == 1:
        raise errors[0][1]
    if errors:
        lines = "\n".join(f"{component.name}: {error}" for component, error in errors)
        raise StartFailed(f"{len(errors)} components failed:\n{lines}") from errors[0][1]
