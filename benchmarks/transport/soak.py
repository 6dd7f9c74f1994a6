"""`python -m benchmarks.transport.soak --minutes 30`: a loaded worker whose connections are cut every minute.

Every twentieth task is longer than its lock. Printed last: what was lost, what ran twice, and how memory grew.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.transport.figures import Figures, median
from benchmarks.transport.peers import Emulator
from benchmarks.transport.workers import Site

TASKS_PER_S = 20
#: Five seconds is the shortest lock of the service.
LOCK_S = 5
#: Longer than the lock: kept only by renewing it.
LONG_TASK_S = 8.0
SHORT_TASK_S = 0.02
DROP_EVERY_S = 60.0
#: The last tasks may have to wait for a lock to run out.
DRAIN_S = 60.0


class Soak:
    """One worker, one publisher, and the cuts between them."""

    def __init__(self, folder: Path) -> None:
        self.emulator = Emulator(folder)
        self.site = Site(self.emulator.peers()[0], folder, prefetch=4, options={"lock_duration_s": LOCK_S})
        self.worker = self.site.start("threads", concurrency=32)
        self.published = 0
        self.publish_errors = 0
        self.drops = 0
        self.rss_mb: list[float] = []

    def run(self, *, minutes: float) -> None:
        begin = time.monotonic()
        next_drop = begin + DROP_EVERY_S
        while (now := time.monotonic()) < begin + minutes * 60:
            self._publish_one()
            if now >= next_drop:
                next_drop += DROP_EVERY_S
                self._drop()
            due = begin + self.published / TASKS_PER_S
            time.sleep(max(0.0, due - time.monotonic()))
        self._drain()

    def _publish_one(self) -> None:
        is_long = self.published % 20 == 0
        arguments = [str(self.published), LONG_TASK_S if is_long else SHORT_TASK_S]
        try:
            self.site.publish(("mark", arguments))
        except OSError as error:
            self.publish_errors += 1
            print(f"publish {self.published}: {error}", flush=True)
        self.published += 1

    def _drop(self) -> None:
        cut = self.emulator.control("drop" if self.drops % 2 == 0 else "detach")
        self.drops += 1
        self.rss_mb.append(self.worker.rss_mb())
        ended = len(self.site.times("end"))
        print(f"{self.published} published, {ended} ended, {self.rss_mb[-1]:.1f} MB, cut: {cut}", flush=True)

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while len(self.site.times("end")) < self.published and time.monotonic() < deadline:
            time.sleep(0.5)

    def figures(self) -> Figures:
        events = Counter(tuple(line.split()[:2]) for line in self.site.journal.read_text().splitlines())
        starts = {key: count for (event, key), count in events.items() if event == "start"}
        ends = {key: count for (event, key), count in events.items() if event == "end"}
        half = len(self.rss_mb) // 2
        early, late = median(self.rss_mb[1 : half + 1]), median(self.rss_mb[half:])
        figures = Figures()
        figures.add("published", self.published)
        figures.add("publish_errors", self.publish_errors)
        figures.add("drops", self.drops)
        figures.add("lost", self.published - len(ends))
        figures.add("ended_twice", sum(count > 1 for count in ends.values()))
        figures.add("started_twice", sum(count > 1 for count in starts.values()))
        figures.add("locks_outlived", sum(key.isdigit() and int(key) % 20 == 0 for key in ends))
        figures.add("rss_mb_early", early)
        figures.add("rss_mb_late", late)
        return figures

    def close(self) -> None:
        self.worker.stop()
        self.site.close()
        self.emulator.process.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes: float = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="soak-transport-") as name:
        soak = Soak(Path(name))
        try:
            soak.run(minutes=minutes)
            figures = soak.figures()
        finally:
            soak.close()
    figures.print()


if __name__ == "__main__":
    main()
