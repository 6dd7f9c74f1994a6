"""What all entities of a namespace share."""

from dataclasses import dataclass

from geoetl.emulator.clock import Clock
from geoetl.emulator.forwarding import FindDestination
from geoetl.emulator.journal import Journal
from geoetl.emulator.timers import Timers


@dataclass(frozen=True, slots=True)
class EntityContext:
    """The time, who calls when it has come, where changes are written down, and how to find each other."""

    clock: Clock
    timers: Timers
    journal: Journal
    find: FindDestination
