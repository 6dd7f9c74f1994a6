"""No-op tasks per second and processor time per task, of each broker in turn: only their ratios mean something."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.transport.figures import Figures, median
from benchmarks.transport.peers import Peer
from benchmarks.transport.process import GaveUpError, wait_until
from benchmarks.transport.workers import Site

#: kombu's transport does one or two tasks a second.
STOCK_TASKS = 8

#: Measured in the main cell only.
ONLY_MAIN = ("stock", "control")

RUN_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Cell:
    """One way of running a worker."""

    pool: str
    concurrency: int
    prefetch: int = 1
    #: All tasks go to the first queue.
    queues: int = 1

    def __str__(self) -> str:
        queues = f" {self.queues} queues" if self.queues > 1 else ""
        return f"{self.pool} -c {self.concurrency} prefetch {self.prefetch}{queues}"


#: The cell of the ratios.
MAIN = Cell("prefork", 2)

ALL_CELLS = (
    MAIN, Cell("prefork", 1), Cell("prefork", 4), Cell("threads", 4), Cell("prefork", 2, prefetch=4),
    Cell("threads", 4, prefetch=4), Cell("prefork", 2, queues=3),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One worker that emptied one queue."""

    tasks_per_s: float
    worker_us_per_task: float
    broker_us_per_task: float


def measure(peers: dict[str, Peer], folder: Path, figures: Figures, *, quick: bool) -> None:
    """All cells, three rounds each, the brokers in turn within a round; some in the main cell only."""
    tasks = 1500 if quick else 4000
    for cell in [MAIN] if quick else ALL_CELLS:
        runs: dict[str, list[Run]] = {name: [] for name in peers if cell == MAIN or name not in ONLY_MAIN}
        for _ in range(3):
            for name, done in runs.items():
                count = STOCK_TASKS if name == "stock" else tasks
                try:
                    done.append(run_once(Site(peers[name], folder, cell.queues, cell.prefetch), cell, count))
                except GaveUpError as error:
                    print(f"{name}: {cell}: {error}")
        _print_cell(cell, runs)
        if cell == MAIN:
            _add_ratios(figures, runs)


def run_once(site: Site, cell: Cell, tasks: int) -> Run:
    """Publish everything, then start a worker and take the time between two marked tasks around the others."""
    site.publish(("mark", ["first"]), *(("noop", [number]) for number in range(tasks)), ("mark", ["last"]))
    worker = site.start(cell.pool, cell.concurrency)
    try:
        wait_until(lambda: "first" in site.times("end"), timeout_s=30, what="the first task", every_s=0.002)
        worker_s, broker_s = worker.cpu_s(), site.peer.process.cpu_s()
        wait_until(lambda: "last" in site.times("end"), timeout_s=RUN_TIMEOUT_S, what="the last task", every_s=0.02)
        worker_s, broker_s = worker.cpu_s() - worker_s, site.peer.process.cpu_s() - broker_s
    finally:
        worker.kill()
        site.close()
    ended = site.times("end")
    return Run(tasks / (ended["last"] - ended["first"]), worker_s / tasks * 1e6, broker_s / tasks * 1e6)


def _print_cell(cell: Cell, runs: dict[str, list[Run]]) -> None:
    print(f"\n{cell} (load {os.getloadavg()[0]:.1f})")
    print(f"  {'':10}{'tasks/s':>10}{'worker us':>12}{'broker us':>12}   each run")
    for name, done in runs.items():
        if not done:
            continue
        rate, worker_us, broker_us = _medians(done)
        each = " ".join(f"{run.tasks_per_s:.4g}" for run in done)
        print(f"  {name:10}{rate:>10.4g}{worker_us:>12.0f}{broker_us:>12.0f}   {each}", flush=True)


def _medians(runs: list[Run]) -> tuple[float, float, float]:
    return (
        median(run.tasks_per_s for run in runs) or 0.0,
        median(run.worker_us_per_task for run in runs) or 0.0,
        median(run.broker_us_per_task for run in runs) or 0.0,
    )


def _add_ratios(figures: Figures, runs: dict[str, list[Run]]) -> None:
    figures.add("tasks_per_s", median(run.tasks_per_s for run in runs["ours"]))
    figures.add("worker_cpu_us_per_task", median(run.worker_us_per_task for run in runs["ours"]))
    others = [name for name in ("stock", "redis", "rabbitmq") if runs.get(name)]
    for other in others:
        figures.add(f"tasks_per_s_vs_{other}", _ratio(runs, other, lambda run: run.tasks_per_s))
    for other in others:
        figures.add(f"worker_cpu_vs_{other}", _ratio(runs, other, lambda run: run.worker_us_per_task))
    if runs.get("control"):
        figures.add("tasks_per_s_vs_control", _ratio(runs, "control", lambda run: run.tasks_per_s))
        figures.add("worker_cpu_vs_control", _ratio(runs, "control", lambda run: run.worker_us_per_task))


def _ratio(runs: dict[str, list[Run]], other: str, figure: Callable[[Run], float]) -> float | None:
    """The median of the rounds' ratios: what else the machine does changes between rounds, less within one."""
    return median(figure(ours) / figure(theirs) for ours, theirs in zip(runs["ours"], runs[other], strict=False))
