"""What time does to a queue: schedules, expiry, idleness. The clock is moved, nothing waits."""

from datetime import timedelta

import pytest

from geoetl.emulator.conditions import ServiceBusError
from tests.unit.emulator.world import Taker, World, take, token


@pytest.fixture
def world() -> World:
    return World()


def test_scheduled_message_becomes_active_at_its_time_under_a_new_number(world):
    queue, taker = world.queue(), Taker(credit=2)
    queue.wait(taker)
    number = world.send(queue, "later", due_in=10)
    world.send(queue, "now")
    assert (queue.counts.active, queue.counts.scheduled) == (1, 1)
    world.pass_time(9.9)
    assert [m.body for m in taker.taken] == [b"now"]
    world.pass_time(0.1)
    assert taker.taken[1].body == b"later"
    assert taker.taken[1].sequence_number > number
    assert taker.taken[1].enqueued_at == world.clock.now()
    assert queue.counts.scheduled == 0


def test_message_scheduled_for_the_past_is_active_at_once(world):
    queue = world.queue()
    world.send(queue, due_in=-5)
    assert take(queue) is not None


def test_cancelled_message_never_comes(world):
    queue = world.queue()
    number = world.send(queue, due_in=10)
    queue.cancel_scheduled(number)
    world.pass_time(20)
    assert queue.counts.total == 0
    with pytest.raises(ServiceBusError, match="message-not-found"):
        queue.cancel_scheduled(number)


def test_message_expires_by_its_own_or_the_queues_time_to_live(world):
    queue = world.queue(DefaultMessageTimeToLive="PT1M")
    world.send(queue, "short", ttl_s=10)
    world.send(queue, "long", ttl_s=600)
    world.pass_time(10)
    assert [m.body for m in queue.peek(0, 9)] == [b"long"]
    world.pass_time(50)
    assert queue.counts.total == 0


def test_expired_message_is_dead_lettered_where_the_queue_says_so(world):
    queue = world.queue(DeadLetteringOnMessageExpiration="true")
    world.send(queue, ttl_s=10)
    world.pass_time(10)
    dead = take(queue.dead_letters)
    assert dead.read_application_properties()["DeadLetterReason"] == "TTLExpiredException"
    world.pass_time(timedelta(days=99).total_seconds())
    assert queue.counts.dead_lettered == 1


def test_locked_message_may_be_completed_after_it_expired_but_is_not_given_again(world):
    queue = world.queue(LockDuration="PT1M")
    world.send(queue, "a", ttl_s=10)
    world.send(queue, "b", ttl_s=10)
    first, second = take(queue), take(queue)
    world.pass_time(20)
    queue.complete(token(first))
    queue.release(token(second))
    assert queue.counts.total == 0


def test_time_to_live_of_a_scheduled_message_starts_when_it_is_due(world):
    queue = world.queue()
    world.send(queue, due_in=100, ttl_s=10)
    world.pass_time(100)
    world.pass_time(9)
    assert queue.counts.active == 1
    world.pass_time(1)
    assert queue.counts.total == 0


def test_timers_ask_to_be_run_at_the_earliest_time(world):
    asked: list[float] = []
    world.namespace.timers.on_earlier = asked.append
    queue, start = world.queue(LockDuration="PT30S"), world.clock.now()
    world.send(queue, due_in=100)
    world.send(queue)
    take(queue)
    world.send(queue, ttl_s=5)
    assert asked == [start + 100, start + 30, start + 5]
    world.clock.advance(5)
    world.namespace.timers.run()
    assert world.namespace.timers.next_due == start + 30


def test_idle_queue_deletes_itself(world):
    queue = world.queue(AutoDeleteOnIdle="PT10M")
    world.pass_time(599)
    assert world.namespace.queue("q") is queue
    world.send(queue)
    world.pass_time(599)
    assert not queue.is_deleted
    world.pass_time(1)
    assert queue.is_deleted
    with pytest.raises(ServiceBusError, match="not-found"):
        world.namespace.queue("q")


def test_queue_someone_waits_at_is_not_idle(world):
    queue, taker = world.queue(AutoDeleteOnIdle="PT10M"), Taker()
    queue.wait(taker)
    world.pass_time(3600)
    assert not queue.is_deleted
    queue.forget(taker)
    world.pass_time(600)
    assert queue.is_deleted


def test_queue_that_is_told_to_stay_stays(world):
    queue = world.queue(AutoDeleteOnIdle="PT10M")
    world.namespace.update("q", {})
    world.pass_time(3600)
    assert not queue.is_deleted


def test_new_queue_of_the_same_name_is_not_deleted_for_the_old_one(world):
    world.queue(AutoDeleteOnIdle="PT10M")
    world.namespace.delete("q")
    queue = world.queue()
    world.pass_time(3600)
    assert world.namespace.queue("q") is queue


def test_queue_with_a_scheduled_message_is_not_idle(world):
    queue = world.queue(AutoDeleteOnIdle="PT10M")
    world.send(queue, due_in=3600)
    world.pass_time(3599)
    assert not queue.is_deleted
    world.pass_time(601)
    assert queue.is_deleted
