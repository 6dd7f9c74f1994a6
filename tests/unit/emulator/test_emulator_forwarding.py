"""Auto-forwarding between queues, subscriptions and topics."""

import pytest

from geoetl.emulator.conditions import ServiceBusError
from tests.unit.emulator.world import Taker, World, take, token


@pytest.fixture
def world() -> World:
    return World()


def test_message_of_a_forwarding_queue_arrives_at_its_destination(world):
    end = world.queue("end")
    start = world.queue("start", ForwardTo="sb://127.0.0.1:5672/END")
    taker = Taker()
    end.wait(taker)

    world.send(start, "x")

    assert taker.taken[0].body == b"x"
    assert start.counts.total == 0


def test_forwarded_message_tells_the_number_it_had_first(world):
    end, start = world.queue("end"), world.queue("start", ForwardTo="end")
    world.send(end)
    world.send(start)
    world.send(start)
    assert [message.annotations.get("x-opt-enqueue-sequence-number") for message in end.peek(0, 9)] == [None, 1, 2]


def test_scheduled_message_is_forwarded_at_its_time(world):
    end, start = world.queue("end"), world.queue("start", ForwardTo="end")
    world.send(start, due_in=60)
    assert (start.counts.scheduled, end.counts.total) == (1, 0)
    world.pass_time(60)
    assert (start.counts.total, end.counts.active) == (0, 1)


def test_deleted_queue_forwards_nothing_any_more(world):
    end, start = world.queue("end"), world.queue("start", ForwardTo="end")
    world.send(start, due_in=60)
    world.namespace.delete("start")
    world.pass_time(60)
    assert end.counts.total == 0


def test_what_waits_is_forwarded_as_soon_as_the_queue_is_told_to(world):
    end, start = world.queue("end"), world.queue("start", LockDuration="PT5S")
    world.send(start, "held")
    world.send(start, "waiting")
    lock = token(take(start))
    world.namespace.update("start", {"ForwardTo": "end", "LockDuration": "PT5S"})
    assert (start.counts.active, end.counts.active) == (1, 1)
    start.abandon(lock)
    assert (start.counts.active, end.counts.active) == (0, 2)
    assert [message.delivery_count for message in end.peek(0, 9)] == [0, 0]


def test_dead_letters_go_where_the_queue_says(world):
    end = world.queue("end")
    start = world.queue("start", ForwardDeadLetteredMessagesTo="end")
    world.send(start)
    start.dead_letter(token(take(start)), "bad", None)
    assert start.counts.dead_lettered == 0
    message = take(end)
    assert message.read_application_properties() == {"DeadLetterReason": "bad"}
    assert message.annotations["x-opt-deadletter-source"] == "start"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda namespace: namespace.delete("end"), "MessagingEntityNotFoundException"),
        (lambda namespace: namespace.update("end", {"Status": "Disabled"}), "MessagingEntityDisabledException"),
    ],
)
def test_message_that_cannot_go_is_a_transfer_dead_letter(world, spoil, reason):
    world.queue("end")
    start = world.queue("start", ForwardTo="end")
    spoil(world.namespace)
    world.send(start)
    assert (start.counts.active, start.counts.dead_lettered, start.counts.transfer_dead_lettered) == (0, 0, 1)
    lost = world.namespace.resolve("start/$Transfer/$DeadLetterQueue")
    message = take(lost)
    assert message.read_application_properties()["DeadLetterReason"] == reason
    lost.complete(token(message))
    assert start.counts.total == 0


def test_dead_letter_that_cannot_go_stays(world):
    world.queue("end")
    start = world.queue("start", ForwardDeadLetteredMessagesTo="end")
    world.namespace.delete("end")
    world.send(start)
    start.dead_letter(token(take(start)), "bad", None)
    assert start.counts.dead_lettered == 1
    assert take(start.dead_letters) is not None


def test_message_moves_four_times_and_no_further(world):
    world.queue("hop0")
    for number in range(1, 6):
        world.queue(f"hop{number}", ForwardTo=f"hop{number - 1}")
    queue = world.namespace.queue
    world.send(queue("hop4"))
    assert queue("hop0").counts.active == 1
    world.send(queue("hop5"))
    assert queue("hop0").counts.active == 1
    assert queue("hop1").counts.transfer_dead_lettered == 1
    dead = take(queue("hop1").transfer_dead_letters)
    assert dead.read_application_properties()["DeadLetterReason"] == "MaxTransferHopCountExceeded"


@pytest.mark.parametrize("setting", ["ForwardTo", "ForwardDeadLetteredMessagesTo"])
def test_destination_must_exist(world, setting):
    with pytest.raises(ServiceBusError, match="destination entity 'nowhere' does not exist") as refused:
        world.queue("start", **{setting: "nowhere"})
    assert refused.value.status == 400
    with pytest.raises(ServiceBusError, match="not-found"):
        world.namespace.queue("start")


def test_circle_of_queues_is_refused_and_nothing_changed(world):
    a = world.queue("a")
    world.queue("b", ForwardTo="a")
    world.queue("c", ForwardTo="b")
    for to in ("a", "B", "c"):
        with pytest.raises(ServiceBusError, match="would bring messages back"):
            world.namespace.update("a", {"ForwardTo": to})
    with pytest.raises(ServiceBusError, match="would bring messages back"):
        world.namespace.update("a", {"ForwardDeadLetteredMessagesTo": "a"})
    world.send(world.namespace.queue("c"))
    assert a.counts.active == 1


def test_circle_over_a_topic_is_refused(world):
    world.namespace.create_topic("t", {})
    world.queue("q", ForwardTo="t")
    with pytest.raises(ServiceBusError, match="would bring messages back"):
        world.namespace.create_subscription("t", "s", {"ForwardTo": "q"})
    with pytest.raises(ServiceBusError, match="would bring messages back"):
        world.namespace.create_subscription("t", "s", {"ForwardTo": "t"})
    world.namespace.create_subscription("t", "s", {})
    with pytest.raises(ServiceBusError, match="would bring messages back"):
        world.namespace.update_subscription("t", "s", {"ForwardTo": "q"})


def test_forwarding_queue_is_never_idle(world):
    world.queue("end")
    start = world.queue("start", ForwardTo="end", AutoDeleteOnIdle="PT10M")
    world.pass_time(3600)
    assert not start.is_deleted
    world.namespace.update("start", {"AutoDeleteOnIdle": "PT10M"})
    world.pass_time(600)
    assert start.is_deleted
