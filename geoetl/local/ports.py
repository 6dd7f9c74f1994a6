"""TCP ports of the embedded stack: chosen once and kept, because stored addresses name them."""

import json
import random
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from geoetl.errors import SystemFault

HOST = "127.0.0.1"
#: Below the range that the kernel hands to outgoing connections (32768 and up, ip(7)), so that a kept port stays ours.
_RANGE = range(20_000, 32_000)
_TRIES = 200
#: How long a port that a killed service used may stay taken, in seconds.
_DYING_S = 3.0


class PortTaken(SystemFault):
    """A port that the stack has used before now belongs to another program."""

    default_code = "port-taken"


@dataclass(frozen=True, slots=True)
class _Choice:
    port: int
    is_used: bool
    """Whether a service has listened on it: then addresses may name it, and it is never changed."""


class Ports:
    """Ports by the name of their service, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Components start at the same time, each asking for its port.
        self._turn = threading.RLock()

    def of(self, name: str) -> int:
        """The service's port, chosen now if it has none."""
        with self._turn:
            choice = self._read().get(name)
            return choice.port if choice else self._choose(name)

    def claim(self, name: str) -> int:
        """The service's port, which nobody listens on; one that was never used is chosen again where taken.

        Raises:
            PortTaken: It has been used before, and another program listens on it.
        """
        port = self.of(name)
        if is_free(port):
            return port
        if not self._read()[name].is_used:
            return self._choose(name)
        if _becomes_free(port):
            return port
        raise PortTaken(
            f"Port {port} of {name} is taken by another program; stored addresses name it, so no other is chosen.",
            hint=f"Stop that program (`ss -ltnp 'sport = :{port}'` names it), or start over with `geoetl local reset`.",
        )

    def confirm(self, name: str) -> None:
        """Note that the service listens on its port: from now on it is kept."""
        with self._turn:
            choices = self._read()
            choices[name] = _Choice(port=choices[name].port, is_used=True)
            self._write(choices)

    def _choose(self, name: str) -> int:
        with self._turn:
            choices = self._read()
            others = {choice.port for choice in choices.values()}
            for _ in range(_TRIES):
                port = random.choice(_RANGE)  # noqa: S311  # no secret: it only has to differ from other stacks' ports
                if port not in others and is_free(port):
                    choices[name] = _Choice(port=port, is_used=False)
                    self._write(choices)
                    return port
            raise SystemFault(f"No free port was found between {_RANGE.start} and {_RANGE.stop} in {_TRIES} tries.")

    def _read(self) -> dict[str, _Choice]:
        try:
            stored = json.loads(self._path.read_text())
            return {name: _Choice(port=int(port), is_used=bool(used)) for name, (port, used) in stored.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as exc:
            raise SystemFault(
                f"{self._path} is not a list of ports ({exc}).", hint="Start over with `geoetl local reset`."
            ) from exc

    def _write(self, choices: dict[str, _Choice]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({name: [choice.port, choice.is_used] for name, choice in sorted(choices.items())}))
        fresh.replace(self._path)


def _becomes_free(port: int) -> bool:
    """Whether the port is left soon: the threads of a killed process hold its sockets a moment longer than its pid."""
    give_up_at = time.monotonic() + _DYING_S
    while not is_free(port):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(_DYING_S / 100)  # no event tells when another process lets go of a port
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of this machine's loopback address."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
