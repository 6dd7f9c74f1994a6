"""Workers forked from a process that has loaded everything: loading is nearly all of a worker's start.

Reads lines of names from its input, starts a worker for each, and says `gone` when all of a line have ended.
"""

import importlib
import os
import sys

from control_app import app

for module in (
    "celery.apps.worker", "celery.bin.celery", "celery.concurrency.solo", "celery.worker.autoscale",
    "celery.worker.consumer", "celery.worker.control", "celery.worker.pidbox", "geoetl.transport.transport",
):  # fmt: skip
    importlib.import_module(module)


def start(name: str) -> int:
    if pid := os.fork():
        return pid
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # its banner
    app.worker_main(["worker", "-n", f"{name}@test", "-P", "solo", "-l", "WARNING"])
    sys.exit()


if __name__ == "__main__":
    for line in sys.stdin:
        for pid in [start(name) for name in line.split()]:
            os.waitpid(pid, 0)
        sys.stdout.write("gone\n")
        sys.stdout.flush()
