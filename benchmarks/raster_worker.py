"""The worker of ``raster_jobs.py``: as ``celery_app``, and every task leaves what it did besides making a COG."""

import json
import os
from pathlib import Path
from typing import Any

from celery import signals

from benchmarks.meter import Meter
from geoetl.storage.azure import AzureBlobStore
from geoetl.worker.app import create_app

_figures = Path(os.environ["BENCHMARK_FIGURES"])
_meter = Meter()
_meter.install(AzureBlobStore, has_parallel_verification=False)

app = create_app()


@signals.task_prerun.connect(weak=False)
def _begin(**_: Any) -> None:
    _meter.reset()


@signals.task_postrun.connect(weak=False)
def _end(task_id: str, **_: Any) -> None:
    (_figures / f"{task_id}.json").write_text(json.dumps(_meter.figures()))
