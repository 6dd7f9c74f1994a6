"""What a worker costs that has nothing to do, and how fast it goes."""

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.transport.figures import Figures, median
from benchmarks.transport.peers import Emulator, Peer
from benchmarks.transport.workers import Site

#: After a start or a task, until a worker is at rest.
SETTLING_S = 2.0


def measure(emulator: Emulator, peer: Peer, folder: Path, figures: Figures, *, quick: bool) -> None:
    stops_s: list[float] = []
    for queue_count in (1, 3, 20):
        site = Site(peer, folder, queue_count=queue_count)
        before = emulator.control("counts")["connections"]
        worker = site.start()
        try:
            time.sleep(SETTLING_S)
            figures.add(f"threads_{queue_count}_queues", worker.threads())
            figures.add(f"connections_{queue_count}_queues", emulator.control("counts")["connections"] - before)
            if queue_count == 3:
                figures.add("idle_cpu_percent", _cpu_percent(worker.cpu_s, over_s=8 if quick else 60))
        finally:
            stops_s.append(worker.stop())
            site.close()
    figures.add("warm_stop_s", median(stops_s))


def _cpu_percent(cpu_s: Callable[[], float], *, over_s: float) -> float:
    """Of one processor, for the worker and its two children."""
    begin = cpu_s()
    time.sleep(over_s)
    return (cpu_s() - begin) / over_s * 100
