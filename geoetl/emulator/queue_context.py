"""What all queues of a namespace share."""

from dataclasses import dataclass

from geoetl.emulator.clock import Clock
from geoetl.emulator.journal import Journal
from geoetl.emulator.timers import Timers


@dataclass(frozen=True, slots=True)
class QueueContext:
    """The time, who calls when it has come, and where changes are written down."""

    clock: Clock
    timers: Timers
    journal: Journal
