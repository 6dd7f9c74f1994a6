"""Queue semantics by a clock that is moved: no sockets, no waiting."""

import pytest

from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.message import Message, State
from tests.unit.emulator.world import Taker, World, take, token


@pytest.fixture
def world() -> World:
    return World()


def test_messages_come_in_order_and_are_gone_when_completed(world):
    queue = world.queue()
    for body in "abc":
        world.send(queue, body)
    for body in b"a", b"b", b"c":
        message = take(queue)
        assert message.body == body
        queue.complete(token(message))
    assert queue.counts.total == 0
    assert take(queue) is None


def test_waiting_consumer_is_woken_by_a_message(world):
    queue, taker = world.queue(), Taker()
    queue.wait(taker)
    world.send(queue)
    assert len(taker.taken) == 1


def test_consumers_take_turns_and_no_more_than_their_credit(world):
    queue, one, two = world.queue(), Taker(credit=2), Taker(credit=5)
    queue.wait(one)
    queue.wait(two)
    for body in "abcdef":
        world.send(queue, body)
    assert [m.body for m in one.taken] == [b"a", b"c"]
    assert [m.body for m in two.taken] == [b"b", b"d", b"e", b"f"]


def test_forgotten_consumer_gets_nothing_and_its_locks_stay(world):
    queue, taker = world.queue(), Taker(credit=5)
    queue.wait(taker)
    world.send(queue)
    queue.forget(taker)
    world.send(queue)
    assert len(taker.taken) == 1
    assert queue.counts.locked == 1


def test_receive_and_delete_removes_as_it_hands_out(world):
    queue, taker = world.queue(), Taker(is_peek_lock=False)
    world.send(queue)
    queue.wait(taker)
    assert taker.taken[0].lock_token is None
    assert queue.counts.total == 0


def test_released_message_returns_to_its_place_with_its_count(world):
    queue = world.queue()
    world.send(queue, "a")
    world.send(queue, "b")
    queue.release(token(take(queue)))
    again = take(queue)
    assert (again.body, again.delivery_count) == (b"a", 0)


def test_abandoned_message_returns_with_one_delivery_more(world):
    queue = world.queue()
    world.send(queue)
    queue.abandon(token(take(queue)), {"why": "tired"})
    again = take(queue)
    assert again.delivery_count == 1
    assert again.read_application_properties() == {"why": "tired"}


def test_settling_twice_is_refused(world):
    queue = world.queue()
    world.send(queue)
    lock = token(take(queue))
    queue.complete(lock)
    for settle in (queue.complete, queue.release, queue.abandon, queue.defer):
        with pytest.raises(ServiceBusError, match="message-lock-lost"):
            settle(lock)


def test_expired_lock_returns_the_message_and_refuses_its_holder(world):
    queue = world.queue(LockDuration="PT30S")
    world.send(queue)
    lock, waiting = token(take(queue)), Taker()
    queue.wait(waiting)
    world.pass_time(29.9)
    assert waiting.taken == []
    world.pass_time(0.1)
    assert waiting.taken[0].delivery_count == 1
    with pytest.raises(ServiceBusError, match="message-lock-lost"):
        queue.complete(lock)


def test_lock_is_lost_at_its_time_even_before_the_timer_ran(world):
    queue = world.queue(LockDuration="PT30S")
    world.send(queue)
    lock = token(take(queue))
    world.clock.advance(30)
    with pytest.raises(ServiceBusError, match="message-lock-lost"):
        queue.complete(lock)
    with pytest.raises(ServiceBusError, match="message-lock-lost"):
        queue.renew([lock])
    world.namespace.timers.run()
    assert take(queue).delivery_count == 1


def test_renewed_lock_lasts_from_the_renewal(world):
    queue = world.queue(LockDuration="PT30S")
    world.send(queue)
    lock = token(take(queue))
    for _ in range(5):
        world.pass_time(20)
        assert queue.renew([lock]) == [world.clock.now() + 30]
    queue.complete(lock)
    assert queue.counts.total == 0


def test_one_dead_lock_renews_none(world):
    queue = world.queue(LockDuration="PT30S")
    world.send(queue)
    lock = token(take(queue))
    world.pass_time(20)
    with pytest.raises(ServiceBusError, match="message-lock-lost"):
        queue.renew([lock, b"?" * 16])
    world.pass_time(10)
    assert queue.counts.locked == 0


def test_message_is_dead_lettered_when_its_deliveries_are_spent(world):
    queue = world.queue(MaxDeliveryCount="2", LockDuration="PT5S")
    world.send(queue)
    queue.abandon(token(take(queue)))
    take(queue)
    world.pass_time(5)
    assert (queue.counts.active, queue.counts.dead_lettered) == (0, 1)
    dead = take(queue.dead_letters)
    assert dead.read_application_properties() == {
        "DeadLetterReason": "MaxDeliveryCountExceeded",
        "DeadLetterErrorDescription": "Message could not be consumed after 2 delivery attempts.",
    }
    assert dead.delivery_count == 2


def test_dead_letter_can_be_abandoned_for_ever_but_not_dead_lettered(world):
    queue = world.queue(MaxDeliveryCount="1")
    world.send(queue)
    queue.dead_letter(token(take(queue)), "r", "d")
    dead = queue.dead_letters
    for _ in range(5):
        dead.abandon(token(take(dead)))
    lock = token(take(dead))
    with pytest.raises(ServiceBusError, match="not-allowed"):
        dead.dead_letter(lock, None, None)
    with pytest.raises(ServiceBusError, match="not-allowed"):
        dead.send(Message())
    dead.complete(lock)
    assert queue.counts.total == 0


def test_dead_letter_with_unreadable_properties_is_kept(world):
    queue = world.queue()
    queue.send(Message(body=b"b", application_properties=b"\x00\x53\x74\xff"))
    queue.dead_letter(token(take(queue)), "bad", None)
    assert take(queue.dead_letters).read_application_properties() == {"DeadLetterReason": "bad"}


def test_only_scheduled_messages_can_be_cancelled(world):
    queue = world.queue()
    number = world.send(queue)
    with pytest.raises(ServiceBusError, match="message-not-found"):
        queue.cancel_scheduled(number)


def test_deferred_message_is_received_by_number_only(world):
    queue = world.queue()
    number = world.send(queue)
    queue.defer(token(take(queue)))
    assert take(queue) is None
    assert queue.counts.active == 1
    (message,) = queue.receive_deferred([number], is_peek_lock=True)
    with pytest.raises(ServiceBusError, match="message-not-found"):
        queue.receive_deferred([number], is_peek_lock=True)
    queue.abandon(token(message))
    (message,) = queue.receive_deferred([number], is_peek_lock=True)
    assert message.delivery_count == 1
    queue.complete(token(message))
    assert queue.counts.total == 0


def test_peek_shows_every_state_and_takes_nothing(world):
    queue = world.queue()
    for body in "abcd":
        world.send(queue, body)
    world.send(queue, "e", due_in=99)
    take(queue)
    queue.defer(token(take(queue)))
    seen = queue.peek(2, 3)
    assert [(m.body, m.state) for m in seen] == [
        (b"b", State.DEFERRED),
        (b"c", State.ACTIVE),
        (b"d", State.ACTIVE),
    ]
    assert queue.peek(5, 10)[0].state is State.SCHEDULED
    assert queue.counts.locked == 1


def test_lost_locks_give_all_messages_back(world):
    queue = world.queue()
    world.send(queue)
    lock = token(take(queue))
    assert queue.expire_locks() == 1
    assert queue.expire_locks() == 0
    with pytest.raises(ServiceBusError, match="message-lock-lost"):
        queue.complete(lock)
    assert take(queue).delivery_count == 1


def test_new_settings_hold_for_what_comes(world):
    queue = world.queue(MaxDeliveryCount="5")
    world.send(queue)
    world.namespace.update("Q", {"MaxDeliveryCount": "1", "LockDuration": "PT5S"})
    assert take(queue).locked_until == world.clock.now() + 5
    world.pass_time(5)
    assert queue.counts.dead_lettered == 1


def test_a_cleared_queue_holds_nothing_and_works_on(world):
    queue = world.queue()
    world.send(queue, "held")
    held = take(queue)
    world.send(queue, "dead")
    queue.dead_letter(token(take(queue)), "why", "so")
    world.send(queue, "waiting", ttl_s=5)
    world.send(queue, "later", due_in=5)

    assert queue.clear() == 4

    assert (queue.counts.total, queue.counts.locked, queue.counts.scheduled) == (0, 0, 0)
    assert held is not None
    world.pass_time(10)
    assert queue.counts.total == 0
    world.send(queue, "new")
    message = take(queue)
    assert message is not None
    assert message.body == b"new"
