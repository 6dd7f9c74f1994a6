"""A message that the broker gave up on, on a whole stack."""

import pytest
from azure.servicebus import ServiceBusClient

from tests.acceptance.chaos import Faults, expect_exactly_once, noop
from tests.acceptance.conftest import Installation, eventually


@pytest.fixture
def faults(installation: Installation) -> Faults:
    return Faults(installation)


def test_dead_letter(installation, workers, faults):
    """A message is given up before any worker is there: the task learns of it, and the job completes."""
    job = noop(installation, tasks=2, seconds=0)
    broker = installation.services.settings.broker.connection_string
    assert broker is not None
    with (
        ServiceBusClient.from_connection_string(broker.get_secret_value()) as client,
        client.get_queue_receiver("standard") as receiver,
    ):
        # Copies of what other tests have ended may lie before it.
        while (message := receiver.receive_messages(1, max_wait_time=60)[0]).correlation_id != job.tasks()[0].id:
            receiver.complete_message(message)
        receiver.dead_letter_message(message, reason="TooHard", error_description="nobody could do it")

    workers("undertaker", environ={"GEOETL_WORKER__DEAD_LETTERS_S": "1"})

    expect_exactly_once(installation, job)
    eventually(lambda: any(event.what == "message dead-lettered" for event in job.events()), what="the event")
    assert faults.control("counts")["queues"]["standard"]["dead_lettered"] == 0
