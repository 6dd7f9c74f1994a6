"""What Prometheus is told."""

from prometheus_client.parser import text_string_to_metric_families

from geoetl.chains.noop import Noop
from geoetl.engine.metrics import exposition


def samples(engine) -> dict[str, float]:
    families = text_string_to_metric_families(exposition(engine.services.connections))
    return {
        sample.name + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_tasks_of_open_runs_are_counted_by_queue_and_state(engine):
    engine.start_work_stage(tasks=5)
    engine.claim(engine.task_ids(1)[0])

    told = samples(engine)

    assert told["geoetl_tasks{queue=standard}{state=ready}"] == 4 + 1, "four tasks and the callback"
    assert told["geoetl_tasks{queue=standard}{state=running}"] == 1
    assert told["geoetl_jobs{job_type=noop}{state=running}"] == 1


def test_the_age_of_a_queue_and_of_the_outbox_is_told(engine):
    engine.submit(Noop(tasks=1))
    engine.sql("UPDATE geoetl.task SET next_attempt_at = now() - interval '50 seconds'")
    engine.sql("UPDATE geoetl.outbox SET not_before = now() - interval '40 seconds'")

    told = samples(engine)

    assert 50 <= told["geoetl_queue_age_seconds{queue=standard}"] < 60
    assert told["geoetl_outbox_messages"] == 1
    assert 40 <= told["geoetl_outbox_lag_seconds"] < 50


def test_messages_that_a_queue_refuses_are_told(engine):
    engine.submit(Noop(tasks=1))
    engine.sql("UPDATE geoetl.outbox SET not_before = now() + interval '30 seconds', problem = 'disabled'")

    told = samples(engine)

    assert (told["geoetl_outbox_messages"], told["geoetl_outbox_refused_messages"]) == (0, 1)
    assert told["geoetl_outbox_parked_messages"] == 0


def test_a_waiting_callback_of_a_running_stage_does_not_age_its_queue(engine):
    engine.submit(Noop(tasks=1))
    engine.claim(engine.task_ids()[0])
    engine.sql("UPDATE geoetl.task SET next_attempt_at = now() - interval '50 seconds'")

    assert "geoetl_queue_age_seconds{queue=standard}" not in samples(engine)


def test_events_and_stage_durations_are_told(engine, expire_leases):
    engine.start_work_stage(tasks=1)
    engine.claim(engine.task_ids(1)[0])
    expire_leases()
    engine.reaper.reap(engine.services.connections())

    told = samples(engine)

    assert told["geoetl_events_total{what=lease expired}"] == 1
    assert told["geoetl_stage_seconds{job_type=noop}{quantile=0.99}{stage=count}"] >= 0


def test_an_empty_database_has_metrics_too(engine):
    assert samples(engine)["geoetl_outbox_messages"] == 0
