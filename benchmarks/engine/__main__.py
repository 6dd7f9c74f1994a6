"""`python -m benchmarks.engine [--quick]`: measure, and print the figures last, one `name=value` a line."""

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from benchmarks.engine import faults, rates, stages
from benchmarks.engine.peers import ChordPeer, chord_peers
from benchmarks.engine.site import Site, running_site
from benchmarks.transport.figures import Figures
from benchmarks.transport.peers import redis
from benchmarks.transport.process import clean_up_when_terminated


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main cells only, fewer samples: under four minutes")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="only a long run with a kill every 20 s")
    given = parser.parse_args()
    quick: bool = given.quick
    clean_up_when_terminated()
    begin = time.monotonic()
    figures = Figures()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the run", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as name, running_site(Path(name)) as site:
        if given.soak:
            faults.soak(site, figures, minutes=given.soak)
        else:
            _measure(site, Path(name), figures, quick=quick)
    figures.add("load", os.getloadavg()[0])
    figures.add("seconds", time.monotonic() - begin)
    figures.print()


def _measure(site: Site, folder: Path, figures: Figures, *, quick: bool) -> None:
    stages.measure_starts(site, figures, rounds=3 if quick else 5)
    stages.measure_barrier(site, figures, samples=40 if quick else 200)
    with ExitStack() as stack:
        peers = _peers(site, folder, stack)
        rates.measure(
            site, peers, figures,
            tasks=300 if quick else 1000, concurrencies=(2,) if quick else (2, 1, 4), rounds=3,
        )  # fmt: skip
    rates.measure_growth(site, figures, quick=quick)
    if not quick:
        faults.measure_recoveries(site, figures)


def _peers(site: Site, folder: Path, stack: ExitStack) -> list[ChordPeer]:
    missing = [module for module in ("redis", "sqlalchemy") if find_spec(module) is None]
    if missing:
        print(f"peers left out: `uv pip install --group bench` adds {', '.join(missing)}")
        return []
    broker = redis(folder, stack)
    logs = folder / "peers"
    logs.mkdir()
    return chord_peers(site, broker.url, logs)


if __name__ == "__main__":
    main()
