"""What is sent again: messages that are lost, not messages that wait."""

import pytest

from geoetl.engine.reaper import Reaper
from tests.integration.engine.conftest import claim_work


def test_a_message_that_nobody_claimed_is_sent_again_and_the_wait_doubles(engine):
    engine.start_work_stage(tasks=1)
    (task_id,) = engine.bells()
    conn = engine.services.connections()
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE id = %s", task_id)

    assert engine.reaper.resend(conn) == 1
    assert engine.bells() == [task_id]
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE id = %s", task_id)
    assert engine.reaper.resend(conn) == 0
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '121 seconds' WHERE id = %s", task_id)
    assert engine.reaper.resend(conn) == 1


def test_a_parked_row_is_not_a_message_that_waits(engine):
    engine.start_work_stage(tasks=1)
    (task_id,) = engine.bells()
    engine.sql("INSERT INTO geoetl.outbox (source, ref, parked_at) VALUES ('task', %s, now())", task_id)
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE id = %s", task_id)

    assert engine.reaper.resend(engine.services.connections()) == 1


class Broker:
    """A broker that says how many messages it has."""

    def __init__(self, held: int | None) -> None:
        self.held = held

    def messages(self, queue: str) -> int | None:
        return self.held


@pytest.mark.parametrize(
    ("held", "sent"), [(7, 0), (8, 0), (5, 2), (0, 6), (None, 0)], ids=["all", "copies", "two lost", "none", "unknown"]
)
def test_only_what_the_broker_lacks_is_sent_again(engine, held, sent):
    engine.start_work_stage(tasks=7)
    engine.bells()
    claim_work(engine)  # its message stays with the broker until it is done
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE state = 'ready'")

    Reaper(every_s=1.0, backlog=Broker(held)).resend(engine.services.connections())

    assert len(engine.bells()) == sent


def test_an_idle_queue_that_holds_enough_is_tried_with_one_message_at_growing_intervals(engine):
    engine.start_work_stage(tasks=7)
    engine.bells()
    engine.sql("UPDATE geoetl.task SET published_at = now() WHERE state = 'ready' AND stage_no = 1 AND idx >= 0")
    reaper = Reaper(every_s=1.0, backlog=Broker(7))
    sent = []
    for _ in range(60):
        engine.sql("UPDATE geoetl.task SET published_at = published_at - interval '61 seconds' WHERE state = 'ready'")
        reaper.resend(engine.services.connections())
        sent.append(len(engine.bells()))

    assert sent[0] == 1
    assert max(sent) == 1
    assert sum(sent) <= 7, "an hour without a worker"


def test_what_is_done_while_the_broker_counts_is_not_missing(engine):
    engine.start_work_stage(tasks=7)
    engine.bells()
    claims = [claim_work(engine, index) for index in range(3)]
    engine.sql("UPDATE geoetl.task SET published_at = now() - interval '61 seconds' WHERE state = 'ready'")

    class Quick:
        """By the time it answers, three tasks are done and their messages gone."""

        def messages(self, queue: str) -> int:
            for claim in claims:
                engine.run(claim)
            return 4

    Reaper(every_s=1.0, backlog=Quick()).resend(engine.services.connections())

    assert engine.bells() == []
