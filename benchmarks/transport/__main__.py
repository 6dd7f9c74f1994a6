"""`python -m benchmarks.transport [--quick]`: measure, and print the figures last, one `name=value` a line."""

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.transport import footprint, latency, rates
from benchmarks.transport.figures import Figures
from benchmarks.transport.peers import running_peers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main cell only, fewer messages: under three minutes")
    quick: bool = parser.parse_args().quick
    begin = time.monotonic()
    figures = Figures()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the run", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-transport-") as name, running_peers(Path(name)) as (emulator, peers):
        folder = Path(name)
        latency.measure(peers["ours"], folder, figures, quick=quick)
        footprint.measure(emulator, peers["ours"], folder, figures, quick=quick)
        rates.measure(peers, folder, figures, quick=quick)
    figures.add("load", os.getloadavg()[0])
    figures.add("seconds", time.monotonic() - begin)
    figures.print()


if __name__ == "__main__":
    main()
