"""A task is claimed when there is memory for it; where there is none it waits, and no attempt is spent."""

import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from celery.worker import state as worker_state

from geoetl.backend.ledger import owner
from geoetl.chains.noop import Noop
from geoetl.engine import ledger as ledger_module
from geoetl.engine.failures import out_of_memory
from geoetl.engine.heartbeat import expected
from geoetl.engine.ledger import StageLedger
from geoetl.resources.memory_room import MemoryRoom
from geoetl.resources.memory_watch import MemoryWatch
from geoetl.worker.memory import end_largest
from tests.integration.engine.conftest import eventually

MIB = 2**20


@pytest.fixture
def large_task(engine, tmp_path, monkeypatch):
    """A task that is said to need 60 MiB, in an engine that shares out 100."""
    monkeypatch.setattr(ledger_module, "WAIT_FOR_MEMORY_S", 0.0)
    engine.submit(Noop(tasks=2, expected_mib=60))
    engine.services.ledger._room = MemoryRoom(tmp_path, 100 * MIB)
    for _ in range(2):
        (task_id,) = engine.bells()
        assert engine.run(engine.claim(task_id))
    return engine.task_ids(1)


def events(engine, what):
    return engine.sql("SELECT attempt, data FROM geoetl.event WHERE what = %s ORDER BY id", what)


def test_a_second_task_waits_without_spending_an_attempt(engine, large_task):
    engine.bells()
    first = engine.claim(large_task[0])
    assert first.facts.memory_bytes == 60 * MIB

    assert engine.claim(large_task[1]) is None

    assert engine.sql("SELECT state, attempt FROM geoetl.task WHERE id = %s", large_task[1]) == [("ready", 0)]
    assert engine.bells() == []
    ((attempt, data),) = events(engine, "task waits for memory")
    assert (attempt, data["wanted_bytes"], data["taken_bytes"], data["budget_bytes"]) == (
        0,
        60 * MIB,
        60 * MIB,
        100 * MIB,
    )
    engine.sql("UPDATE geoetl.outbox SET not_before = now()")
    engine.sql("UPDATE geoetl.task SET next_attempt_at = now() WHERE state = 'ready'")
    first.facts.share.release()

    assert engine.bells() == [large_task[1]]
    assert engine.claim(large_task[1]).attempt == 1


def test_a_worker_whose_scratch_folder_is_broken_leaves_the_task_to_others(
    engine, large_task, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(ledger_module, "BROKEN_FOLDER_S", 0.05)
    engine.bells()
    sound, broken = engine.services.ledger._room, MemoryRoom(tmp_path / "file" / "folder", 100 * MIB)
    (tmp_path / "file").touch()
    engine.services.ledger._room = broken
    begun = time.monotonic()

    assert engine.claim(large_task[0], "broken:1") is None

    assert time.monotonic() - begun >= 0.05, "it takes no messages as fast as it can"
    assert engine.sql("SELECT state, attempt FROM geoetl.task WHERE id = %s", large_task[0]) == [("ready", 0)]
    ((attempt, data),) = events(engine, "task waits for a scratch folder")
    assert (attempt, data["folder"]) == (0, str(tmp_path / "file" / "folder"))
    assert str(tmp_path / "file" / "folder") in caplog.text
    assert "GEOETL_RASTER__SCRATCH_DIR" in caplog.text
    engine.sql("UPDATE geoetl.outbox SET not_before = now()")
    engine.sql("UPDATE geoetl.task SET next_attempt_at = now() WHERE state = 'ready'")
    engine.services.ledger._room = sound

    assert engine.bells() == [large_task[0]]
    assert engine.claim(large_task[0], "sound:1").attempt == 1


def test_a_duplicate_takes_no_memory(engine, large_task, tmp_path):
    claim = engine.claim(large_task[0])

    assert engine.claim(large_task[0], "w2:2") is None

    assert len(list(tmp_path.glob("*.share"))) == 1
    claim.facts.share.release()


def test_the_attempt_after_one_that_ran_out_of_memory_knows_it(engine, large_task):
    claim = engine.claim(large_task[0])
    claim.facts.measured["peak_rss_bytes"] = 90 * MIB
    error = out_of_memory(claim.facts, attempt=1, found="an allocation failed")
    assert engine.services.ledger.retry_delay(claim, error) is not None
    assert engine.services.ledger.retry(claim, error, 0.0)
    claim.facts.share.release()

    assert engine.claim(large_task[0]).facts.last_error == "out-of-memory"

    ((_, data),) = events(engine, "task retried")
    assert data["message"] == (
        "Attempt 1 of 'number 0' ran out of memory: expected were 60 MiB, allowed were 100 MiB, its peak was 90 MiB. "
        "an allocation failed"
    )


def test_what_an_attempt_took_is_told_with_its_end(engine, large_task):
    claim = engine.claim(large_task[0])
    claim.facts.measured.update(peak_rss_bytes=5, scratch_bytes=7)
    assert engine.run(claim)

    data = events(engine, "task succeeded")[-1][1]
    assert (data["peak_rss_bytes"], data["scratch_bytes"]) == (5, 7)


def test_a_lost_process_is_explained(engine, large_task):
    ledger: StageLedger = engine.services.ledger
    ledger._explain_loss = lambda error: out_of_memory(claim.facts, attempt=1, found=f"It was {error}.")
    claim = engine.claim(large_task[0])
    assert [each.memory_bytes for each in expected(engine.services.connections(), [(large_task[0], "w1:1")])] == [
        60 * MIB
    ]

    ledger.lost(large_task[0], "w1:1", RuntimeError("signal 9"))

    ((_, data),) = events(engine, "task retried")
    assert (data["code"], data["message"].rpartition(". ")[2]) == ("out-of-memory", "It was signal 9.")


@pytest.fixture
def child(engine, large_task, monkeypatch):
    """A process that has claimed a task, as the worker's main process knows it."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            claim = engine.claim(large_task[0], owner(process.pid))
            request = SimpleNamespace(id=claim.task_id, worker_pid=process.pid)
            monkeypatch.setattr(worker_state, "active_requests", [request])
            yield process
            claim.facts.share.release()
        finally:
            process.kill()


@pytest.mark.parametrize("is_machine", [False, True], ids=["one is ended", "nobody is ended"])
def test_the_watch_over_memory_holds_no_session(engine, child, is_machine):
    """On a bare machine nobody is ended who takes what was expected; and there is a look every tenth of a second."""
    group = SimpleNamespace(limit_bytes=MIB, is_machine=is_machine, oom_kills=lambda: 0)
    app = SimpleNamespace(services=engine.services, connections=engine.services.connections)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'engine-test'"
    engine.services.pulse()
    before = engine.sql(sessions)
    ended: list[bool] = []
    done = threading.Event()

    def watch() -> None:
        ended.append(end_largest(app, MemoryWatch(group, group.limit_bytes), "it is tight"))
        done.wait(30)

    thread = threading.Thread(target=watch)
    thread.start()
    eventually(lambda: ended)
    try:
        eventually(lambda: engine.sql(sessions) == before, within_s=5)
    finally:
        done.set()
        thread.join()
        engine.services.pulse.close()
    assert ended == [not is_machine]
    assert [data["code"] for _, data in events(engine, "task retried")] == ["out-of-memory"] * ended.count(True)
