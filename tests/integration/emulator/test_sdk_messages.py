"""The real SDK sends, receives and settles against the emulator."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusError,
)

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def receive_one(receiver: Any, wait_s: float = 60) -> Any:
    (message,) = receiver.receive_messages(1, wait_s)
    return message


def test_message_comes_back_with_its_properties(bus, shared_queue):
    sent = ServiceBusMessage(
        "hi", application_properties={"a": 1, "b": "x"}, correlation_id="c", subject="s", message_id="m"
    )
    bus.sender(shared_queue).send_messages(sent)

    got = receive_one(bus.receiver(shared_queue))

    assert str(got) == "hi"
    assert got.application_properties == {b"a": 1, b"b": b"x"}
    assert (got.correlation_id, got.subject, got.message_id) == ("c", "s", "m")
    assert got.delivery_count == 0
    assert got.sequence_number >= 1
    assert got.locked_until_utc - got.enqueued_time_utc > timedelta(seconds=29)
    bus.receiver(shared_queue).complete_message(got)
    bus.assert_counts(shared_queue, total=0)


def test_hundred_messages_of_a_batch_come_in_order(bus, shared_queue):
    batch = bus.sender(shared_queue).create_message_batch()
    for number in range(100):
        batch.add_message(ServiceBusMessage(str(number)))
    bus.sender(shared_queue).send_messages(batch)

    receiver, got = bus.receiver(shared_queue), []
    while len(got) < 100:
        for message in receiver.receive_messages(100, 60):
            got.append(str(message))
            receiver.complete_message(message)

    assert got == [str(number) for number in range(100)]


def test_message_of_many_frames_goes_both_ways(bus, shared_queue):
    body = bytes(range(256)) * 900
    bus.sender(shared_queue).send_messages(ServiceBusMessage(body))

    got = receive_one(bus.receiver(shared_queue))

    assert b"".join(got.body) == body
    bus.receiver(shared_queue).complete_message(got)


def test_message_over_the_limit_is_refused(bus, shared_queue):
    with pytest.raises(MessageSizeExceededError):
        bus.sender(shared_queue).send_messages(ServiceBusMessage(b"x" * 300_000))


def test_abandoned_message_is_dead_lettered_after_its_last_delivery(bus, shared_queue):
    bus.sender(shared_queue).send_messages(ServiceBusMessage("again"))
    receiver = bus.receiver(shared_queue)
    for count in range(3):
        message = receive_one(receiver)
        assert message.delivery_count == count
        receiver.abandon_message(message)

    bus.assert_counts(shared_queue, active=0)
    dead = bus.receiver(shared_queue, sub_queue="deadletter")
    message = receive_one(dead)
    assert message.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert message.dead_letter_source == shared_queue
    dead.complete_message(message)


def test_dead_letter_keeps_reason_description_and_properties(bus, shared_queue):
    bus.sender(shared_queue).send_messages(ServiceBusMessage("bad", application_properties={"k": "v"}))
    receiver = bus.receiver(shared_queue)
    receiver.dead_letter_message(receive_one(receiver), reason="why", error_description="because")

    bus.assert_counts(shared_queue, dead_lettered=1)
    dead = bus.receiver(shared_queue, sub_queue="deadletter")
    message = receive_one(dead)
    assert (message.dead_letter_reason, message.dead_letter_error_description) == ("why", "because")
    assert message.application_properties[b"k"] == b"v"
    dead.complete_message(message)


def test_receive_and_delete_leaves_nothing(bus):
    queue = bus.queue()
    bus.sender(queue).send_messages([ServiceBusMessage(str(number)) for number in range(3)])
    bus.assert_counts(queue, active=3)

    receiver, got = bus.receiver(queue, receive_mode="receiveanddelete"), []
    while len(got) < 3:
        got += [str(message) for message in receiver.receive_messages(3, 60)]

    assert got == ["0", "1", "2"]
    bus.assert_counts(queue, total=0)


def test_expired_lock_gives_the_message_again_and_refuses_its_first_holder(bus):
    lock_s = bus.shortest_lock_s
    queue = bus.queue(lock_duration=timedelta(seconds=lock_s))
    bus.sender(queue).send_messages(ServiceBusMessage("slow"))
    receiver = bus.receiver(queue)
    first = receive_one(receiver)
    started = time.monotonic()

    second = receive_one(receiver, lock_s + 60)

    assert lock_s - 0.3 < time.monotonic() - started < lock_s + 2
    assert second.delivery_count == 1
    # The SDK looks at its own clock first; the server must say the same.
    first._expiry = datetime.now(UTC) + timedelta(minutes=1)
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(first)
    receiver.complete_message(second)


def test_renewed_lock_holds_the_message(bus):
    lock_s = bus.shortest_lock_s
    queue = bus.queue(lock_duration=timedelta(seconds=lock_s))
    bus.sender(queue).send_messages(ServiceBusMessage("long"))
    receiver = bus.receiver(queue)
    message = receive_one(receiver)
    for _ in range(3):
        time.sleep(lock_s * 0.6)
        assert receiver.renew_message_lock(message) > datetime.now(UTC)
    receiver.complete_message(message)
    bus.assert_counts(queue, total=0)


def test_several_locks_are_renewed_in_one_request(bus, shared_queue):
    bus.sender(shared_queue).send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    receiver = bus.receiver(shared_queue)
    messages = [receive_one(receiver), receive_one(receiver)]

    tokens = [message.lock_token for message in messages]

    expiry = receiver._renew_locks(*tokens)

    assert len(expiry[b"expirations"]) == 2
    for message in messages:
        receiver.complete_message(message)
    with pytest.raises(MessageLockLostError):
        receiver._renew_locks(*tokens)


def test_message_settles_by_token_through_management(bus, shared_queue):
    bus.sender(shared_queue).send_messages([ServiceBusMessage("done"), ServiceBusMessage("bad")])
    receiver, control = bus.receiver(shared_queue), bus.client.get_queue_receiver(shared_queue)
    done, bad = receive_one(receiver), receive_one(receiver)
    token = done.lock_token
    with control:
        control.complete_message(done)
        control.dead_letter_message(bad, reason="r", error_description="d")
        with pytest.raises(MessageLockLostError):
            control._settle_message_via_mgmt_link("completed", [token])
    dead = bus.receiver(shared_queue, sub_queue="deadletter")
    message = receive_one(dead)
    assert (message.dead_letter_reason, message.dead_letter_error_description) == ("r", "d")
    dead.complete_message(message)


def test_scheduled_messages_wait_for_their_time_and_can_be_cancelled(bus):
    queue = bus.queue()
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    sender, receiver = bus.sender(queue), bus.receiver(queue)
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    keep, cancel = sender.schedule_messages([ServiceBusMessage("later"), ServiceBusMessage("never")], due)
    sender.cancel_scheduled_messages(cancel)
    sender.send_messages(ServiceBusMessage("eta", scheduled_enqueue_time_utc=due))
    assert bus.admin.get_queue_runtime_properties(queue).scheduled_message_count == 2

    got = []
    while len(got) < 2:
        for message in receiver.receive_messages(2, 60):
            assert message.sequence_number > keep
            got.append(str(message))
            receiver.complete_message(message)

    assert sorted(got) == ["eta", "later"]
    assert timedelta(0) <= datetime.now(UTC) - due < timedelta(seconds=2)


def test_deferred_message_is_found_by_its_number_only(bus):
    queue = bus.queue()
    bus.sender(queue).send_messages([ServiceBusMessage("one"), ServiceBusMessage("two")])
    receiver = bus.receiver(queue)
    assert [str(message) for message in receiver.peek_messages(5)] == ["one", "two"]
    first = receive_one(receiver)
    receiver.defer_message(first)
    second = receive_one(receiver)
    assert str(second) == "two"
    receiver.complete_message(second)

    (deferred,) = receiver.receive_deferred_messages([first.sequence_number])

    assert str(deferred) == "one"
    receiver.complete_message(deferred)
    assert receiver.peek_messages(5) == []


def test_message_past_its_time_to_live_is_gone_or_dead_lettered(bus):
    plain, kept = bus.queue(), bus.queue(dead_lettering_on_message_expiration=True)
    for queue in (plain, kept):
        bus.sender(queue).send_messages(ServiceBusMessage("t", time_to_live=timedelta(seconds=1)))
    time.sleep(1.2)
    bus.assert_counts(plain, total=0)
    bus.assert_counts(kept, dead_lettered=1)
    message = receive_one(bus.receiver(kept, sub_queue="deadletter"))
    assert message.dead_letter_reason == "TTLExpiredException"


def test_message_without_time_to_live_is_refused_with_all_that_is_sent_with_it(bus):
    queue, now = bus.queue(), datetime.now(UTC)
    sender = bus.sender(queue)
    dead, alive = ServiceBusMessage("x", time_to_live=timedelta(0)), ServiceBusMessage("y")
    for send in (
        lambda: sender.send_messages(dead),
        lambda: sender.send_messages([alive, dead]),
        lambda: sender.schedule_messages([alive, dead], now + timedelta(hours=1)),
    ):
        with pytest.raises(ServiceBusError, match="TimeToLive must be a positive timeout value"):
            send()
    bus.assert_counts(queue, total=0)


def test_missing_queue_is_reported_as_such(bus):
    with pytest.raises(MessagingEntityNotFoundError), bus.client.get_queue_receiver("nowhere") as receiver:
        receiver.receive_messages(1, 1)
    with pytest.raises(MessagingEntityNotFoundError), bus.client.get_queue_sender("nowhere") as sender:
        sender.send_messages(ServiceBusMessage("x"))


async def _send_and_receive(connection_string: str, queue: str) -> str:
    from azure.servicebus.aio import ServiceBusClient

    async with ServiceBusClient.from_connection_string(connection_string) as client:
        async with client.get_queue_sender(queue) as sender:
            await sender.send_messages(ServiceBusMessage("aio"))
        async with client.get_queue_receiver(queue) as receiver:
            (message,) = await receiver.receive_messages(1, 60)
            await receiver.complete_message(message)
            return str(message)


def test_asyncio_client_works(bus, shared_queue):
    import asyncio

    assert asyncio.run(_send_and_receive(bus.connection_string, shared_queue)) == "aio"
