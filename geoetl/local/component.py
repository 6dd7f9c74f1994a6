"""What every part of the embedded stack can do."""

from dataclasses import dataclass
from typing import Literal, Protocol

from geoetl.errors import SystemFault

type HealthState = Literal["healthy", "unhealthy", "stopped"]


@dataclass(frozen=True, slots=True)
class Health:
    """Answer of a component to "do you work?", asked through its real interface."""

    state: HealthState
    detail: str = ""


class ToolMissing(SystemFault):
    """A program that the embedded stack needs is not installed, and could not be."""

    default_code = "tool-missing"


def ignore_progress(line: str) -> None:
    """Where nobody wants to be told what is going on."""
    del line


class Component(Protocol):
    """One service of the stack. Every method may be called in any state, again and again."""

    name: str

    def start(self) -> None:
        """Return when the service works; nothing happens where it already does."""
        ...

    def stop(self) -> None:
        """Return when no process of it is left; its data stays."""
        ...

    def remove(self) -> None:
        """Delete its data. It must be stopped."""
        ...

    def health(self) -> Health:
        """Ask the service itself."""
        ...
