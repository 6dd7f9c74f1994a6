"""What ``geoetl job`` says of jobs that did not go well: read by people who have never seen the code."""

import re

import pytest

from geoetl.chains.noop import Noop
from geoetl.engine import control
from geoetl.errors import BadData, TransientError
from tests.goldens import compare
from tests.integration.engine.conftest import claim_work

WORKERS = ("node-1-5f0c2a9e:118", "node-2-83b1d7c4:97")


CORRUPT = BadData(
    "Reading bronze://in/b.tif failed: block (3, 7) of band 1 cannot be decoded.",
    code="corrupt-block",
    hint="Upload the file again, whole.",
)
TRACEBACK = """Traceback (most recent call last):
  File "convert.py", line 88, in convert
rasterio.errors.RasterioIOError: b.tif, band 1: IReadBlock failed
"""


@pytest.fixture(autouse=True)
def ada(monkeypatch):
    """Who acts in every story."""
    monkeypatch.setenv("LOGNAME", "ada")


JOB = "0123456789abcdef0123456789abcdef"
#: Ids, places, times and durations, and what stands for them.
CHANGING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "01234567-89ab-cdef-0123-456789abcdef"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"), "2026-02-03 04:05:06.789"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b(?!\.)"), "2026-02-03 04:05:06"),
    (re.compile(r"\b\d+\.\d s\b"), "1.2 s"),
)


def steady(text: str, job_id: str) -> str:
    """The same in every run."""
    text = text.replace(job_id, JOB).replace(job_id[:12], JOB[:12])
    for pattern, instead in CHANGING:
        text = pattern.sub(instead, text)
    return text


@pytest.fixture
def tell(geoetl):
    """What a command says, as the story of a job goes on; at the end the story is compared."""
    story: list[str] = []

    def tell(job_id: str, word: str, *more: str) -> None:
        words = (word, job_id[:12], *more)
        story.append(steady(f"$ geoetl job {' '.join(words)}\n{geoetl('job', *words).text}", job_id))

    tell.compare = lambda name: compare(name, "\n".join(story))
    return tell


def fail(engine) -> str:
    """One task is done, one fails in its third attempt, one was never begun."""
    submission = engine.start_work_stage(tasks=3)
    job_id = submission.job_id
    engine.bells()
    ledger = engine.services.ledger
    engine.run(claim_work(engine, 0, WORKERS[0]))
    away = TransientError("Reading bronze://in/b.tif failed: no answer within 30 s.", code="storage-away")
    ledger.retry(claim_work(engine, 1, WORKERS[0]), away, 1.2)
    engine.sql("UPDATE geoetl.task SET next_attempt_at = now() WHERE idx = 1")
    claim_work(engine, 1, WORKERS[1])
    engine.sql("UPDATE geoetl.task SET lease_until = now() - interval '1 second' WHERE state = 'running'")
    engine.reaper.reap(engine.services.connections())
    ledger.fail(claim_work(engine, 1, WORKERS[0]), CORRUPT, TRACEBACK)
    return job_id


def test_a_failed_job(engine, tell):
    job_id = fail(engine)

    tell(job_id, "status")
    tell(job_id, "events")
    tell(job_id, "tasks", "--failed")
    tell(job_id, "show-task", "2.2")

    tell.compare("failed-job.txt")


def test_a_retried_job(engine, tell):
    job_id = fail(engine)

    tell(job_id, "retry", "--task", "2.2")
    engine.work_off()
    tell(job_id, "status")
    tell(job_id, "events")

    tell.compare("retried-job.txt")


def test_a_cancelled_job(engine, tell):
    job_id = engine.start_work_stage(tasks=3).job_id
    engine.bells()
    engine.run(claim_work(engine, 0, WORKERS[0]))
    running = claim_work(engine, 1, WORKERS[1])

    tell(job_id, "status")
    tell(job_id, "cancel")
    engine.services.ledger.stop(running)
    tell(job_id, "status")
    tell(job_id, "events")

    tell.compare("cancelled-job.txt")


def test_a_job_past_its_deadline(engine, tell):
    job_id = engine.submit(Noop(tasks=3), deadline_s=7200).job_id

    tell(job_id, "status")
    engine.sql("UPDATE geoetl.run SET deadline = now() - interval '1 second'")
    engine.reaper.reap(engine.services.connections())
    tell(job_id, "status")
    tell(job_id, "events")

    tell.compare("overdue-job.txt")


def test_a_resumed_job(engine, tell):
    job_id = engine.start_work_stage(tasks=3).job_id
    engine.bells()
    engine.run(claim_work(engine, 0, WORKERS[0]))
    control.cancel(engine.services, job_id)

    tell(job_id, "resume")
    engine.work_off()
    tell(job_id, "status")
    tell(job_id, "events")

    tell.compare("resumed-job.txt")
