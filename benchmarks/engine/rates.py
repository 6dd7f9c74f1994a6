"""Tasks per second of a job of three stages, next to the same work as Celery's chords; and what a task costs."""

import os
import signal
import time
from dataclasses import dataclass
from operator import truediv

from benchmarks.engine.peers import ChordPeer
from benchmarks.engine.site import Site
from benchmarks.transport.figures import Figures, median
from benchmarks.transport.process import Process

STAGES = 3
#: Celery's worker on Redis that only runs tasks, without results or chords: nothing that is built on it is faster.
ALONE = "alone"


@dataclass(frozen=True)
class Run:
    """One job, from its submit to its end."""

    tasks_per_s: float
    worker_us_per_task: float


def measure(
    site: Site, peers: list[ChordPeer], figures: Figures, *, tasks: int, concurrencies: tuple[int, ...], rounds: int
) -> None:
    """All systems in turn within a round; the ratios are those of `-c 2`."""
    for concurrency in concurrencies:
        runs: dict[str, list[Run]] = {"ours": [], **{peer.name: [] for peer in peers}}
        if peers:
            runs[ALONE] = []
        for _ in range(rounds):
            runs["ours"].append(_ours(site, tasks, concurrency))
            for peer in peers:
                runs[peer.name].append(_theirs(peer, tasks, concurrency))
            if peers:
                runs[ALONE].append(_alone(peers[0], tasks, concurrency))
        _print(concurrency, tasks, runs)
        if concurrency == 2:
            figures.add("tasks_per_s", median(run.tasks_per_s for run in runs["ours"]))
            for name in list(runs)[1:]:
                pairs = list(zip(runs["ours"], runs[name], strict=True))
                figures.add(f"tasks_per_s_vs_{name}", median(a.tasks_per_s / b.tasks_per_s for a, b in pairs))
                figures.add(
                    f"worker_cpu_vs_{name}", median(a.worker_us_per_task / b.worker_us_per_task for a, b in pairs)
                )


def _ours(site: Site, tasks: int, concurrency: int) -> Run:
    with site.worker(concurrency=concurrency) as worker:
        site.seconds_of(site.submit(concurrency * 10), since=0.0)  # warm up
        used, begin = worker.cpu_s(), time.time()
        seconds = site.seconds_of(site.submit(tasks), since=begin)
        return _run(worker, used, tasks, seconds)


def _theirs(peer: ChordPeer, tasks: int, concurrency: int) -> Run:
    with peer.worker(concurrency=concurrency) as worker:
        peer.ended_at(peer.start(concurrency * 10))
        used, begin = worker.cpu_s(), time.time()
        seconds = peer.ended_at(peer.start(tasks)) - begin
        return _run(worker, used, tasks, seconds)


def _alone(peer: ChordPeer, tasks: int, concurrency: int) -> Run:
    with peer.worker(concurrency=concurrency) as worker:
        peer.ended_at(peer.start_alone(concurrency * 10)[1])
        # It begins when all have been sent, and has both processors.
        os.kill(worker.pid, signal.SIGSTOP)
        first, last = peer.start_alone(STAGES * tasks)
        used = worker.cpu_s()
        os.kill(worker.pid, signal.SIGCONT)
        seconds = peer.ended_at(last) - peer.ended_at(first)
        return _run(worker, used, tasks, seconds)


def _run(worker: Process, used_before: float, tasks: int, seconds: float) -> Run:
    count = STAGES * tasks
    return Run(count / seconds, (worker.cpu_s() - used_before) / count * 1e6)


def _print(concurrency: int, tasks: int, runs: dict[str, list[Run]]) -> None:
    print(f"\n{STAGES} x {tasks} no-op tasks, prefork -c {concurrency} (load {os.getloadavg()[0]:.1f})")
    print(f"  {'':10}{'tasks/s':>10}{'worker us':>12}   each run")
    for name, done in runs.items():
        rate = median(run.tasks_per_s for run in done) or 0.0
        worker_us = median(run.worker_us_per_task for run in done) or 0.0
        each = " ".join(f"{run.tasks_per_s:.4g}" for run in done)
        print(f"  {name:10}{rate:>10.4g}{worker_us:>12.0f}   {each}", flush=True)


def measure_growth(site: Site, figures: Figures, *, quick: bool) -> None:
    """What a task costs in a job of 100, in a large job, and in many jobs of 100 at once: processor time of worker and
    database. Ratios to the first; 1 means that cost does not grow.
    """
    size, count = (1000, 10) if quick else (3334, 100)
    with site.worker(concurrency=2) as worker:
        site.seconds_of(site.submit(20), since=0.0)
        small: list[float] = []
        large: list[float] = []
        many: list[float] = []
        for _ in range(3):
            small.append(median(_cost_us(site, worker, jobs=1, tasks=34) for _ in range(3)) or 1.0)
            large.append(_cost_us(site, worker, jobs=1, tasks=size))
            many.append(_cost_us(site, worker, jobs=count, tasks=34))
            print(f"  cost in us: small {small[-1]:.0f}, large {large[-1]:.0f}, many {many[-1]:.0f}", flush=True)
        figures.add(f"cost_growth_100_to_{3 * size // 1000 * 1000}", median(map(truediv, large, small)))
        figures.add(f"cost_growth_1_to_{count}_jobs", median(map(truediv, many, small)))
        _add_bytes(site, figures)


def _cost_us(site: Site, worker: Process, *, jobs: int, tasks: int) -> float:
    """Processor time per task of jobs that run at the same time, in microseconds."""
    used = worker.cpu_s() + site.postgres_cpu_s()
    submitted = [site.submit(tasks) for _ in range(jobs)]
    for job in submitted:
        site.seconds_of(job, since=0.0)
    return (worker.cpu_s() + site.postgres_cpu_s() - used) / (jobs * STAGES * tasks) * 1e6


def _add_bytes(site: Site, figures: Figures) -> None:
    tasks = 300
    cpu, wal, tables = site.postgres_cpu_s(), site.wal_bytes(), site.table_bytes()
    site.seconds_of(site.submit(tasks), since=0.0)
    count = STAGES * tasks
    figures.add("database_cpu_us_per_task", (site.postgres_cpu_s() - cpu) / count * 1e6)
    figures.add("database_wal_bytes_per_task", (site.wal_bytes() - wal) / count)
    figures.add("database_table_bytes_per_task", (site.table_bytes() - tables) / count)
