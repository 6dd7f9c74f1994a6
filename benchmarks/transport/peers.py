"""The brokers that are compared. Each is a private instance; a peer that is not installed is named and left out."""

import importlib.util
import json
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.transport.process import Process, free_port

KEY = "SAS_KEY_VALUE"
POLICY = "RootManageSharedAccessKey"
RABBITMQ_HOME = Path("/usr/lib/rabbitmq/bin")


@dataclass(frozen=True)
class Peer:
    """A broker as a Celery app reaches it."""

    name: str
    url: str
    process: Process
    options: dict[str, Any] = field(default_factory=dict)
    #: Remote control, task events and heartbeats are on.
    is_controlled: bool = False


class Emulator:
    """The project's Service Bus emulator in a process of its own."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.port = port or free_port()
        self.process = Process(
            [sys.executable, "-m", "geoetl.emulator", "--port", str(self.port)], log=folder / "emulator.log"
        )
        self.process.wait_for("Endpoint=")
        self.connection_string = self.process.log.read_text().strip()

    def control(self, name: str, **arguments: Any) -> dict[str, Any]:
        """One request of the emulator's control API; see `docs/emulator.md`."""
        body = json.dumps(arguments).encode() if name != "counts" else None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/$control/{name}", data=body, timeout=10) as answer:
            return json.load(answer)

    def peers(self) -> tuple[Peer, ...]:
        """Our transport, the same with its control plane, and kombu's."""
        where = f"{POLICY}:{KEY}@localhost:{self.port}"
        return (
            Peer("ours", f"servicebus://{where}", self.process),
            Peer("control", f"servicebus://{where}", self.process, is_controlled=True),
            Peer("stock", f"stock://{where}", self.process, {"admin_port": self.port}),
        )


@contextmanager
def running_peers(folder: Path) -> Iterator[tuple[Emulator, dict[str, Peer]]]:
    """The emulator, and every peer that can be had here by name."""
    with ExitStack() as stack:
        emulator = Emulator(folder)
        stack.callback(emulator.process.stop)
        peers = list(emulator.peers())
        if not shutil.which("redis-server") or importlib.util.find_spec("redis") is None:
            print("redis: left out; `apt-get install redis-server` and `pip install redis` add it")
        else:
            peers.append(redis(folder, stack))
        if not (RABBITMQ_HOME / "rabbitmq-server").exists():
            print("rabbitmq: left out; `apt-get install rabbitmq-server` adds it")
        else:
            peers.append(rabbitmq(folder, stack))
        yield emulator, {peer.name: peer for peer in peers}


def redis(folder: Path, stack: ExitStack) -> Peer:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = Process(command, log=folder / "redis.log")
    stack.callback(process.stop)
    process.wait_for("Ready to accept connections")
    return Peer("redis", f"redis://127.0.0.1:{port}/0", process)


def rabbitmq(folder: Path, stack: ExitStack) -> Peer:
    home = folder / "rabbitmq"
    home.mkdir()
    (home / "plugins").write_text("[].")
    port, names_port = free_port(), free_port()
    env = {
        "HOME": str(home), "ERL_EPMD_PORT": str(names_port), "RABBITMQ_NODENAME": f"bench{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()), "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home), "RABBITMQ_LOGS": "-", "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_PID_FILE": str(home / "pid"), "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
    }  # fmt: skip
    # Erlang would leave a name server of its own behind.
    names = Process(["epmd", "-port", str(names_port), "-address", "127.0.0.1"], log=folder / "epmd.log", env=env)
    stack.callback(names.stop)
    # The one on PATH changes to the user of the system's service.
    process = Process([str(RABBITMQ_HOME / "rabbitmq-server")], log=folder / "rabbitmq.log", env=env)
    stack.callback(process.kill)
    process.wait_for("Server startup complete", timeout_s=90)
    return Peer("rabbitmq", f"pyamqp://guest:guest@127.0.0.1:{port}//", process)
