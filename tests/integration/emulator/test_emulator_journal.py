"""What was accepted is there after a crash: journals are left open and read again, processes are killed."""

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage

from geoetl.emulator.amqp_types import Symbol, Timestamp
from geoetl.emulator.clock import ManualClock
from geoetl.emulator.filters import FilterDescription
from geoetl.emulator.message import SCHEDULED_ENQUEUE_TIME, Message
from geoetl.emulator.namespace import Namespace
from geoetl.emulator.sqlite_journal import JournalError, SqliteJournal
from tests.unit.emulator.world import take


def test_queue_keeps_its_settings(kept):
    queue = kept.reopen()
    assert queue.description.lock_duration_s == 30
    assert queue.description.properties["UserMetadata"] == "mine"


def test_message_keeps_content_and_annotations(kept):
    sent = Message(
        body=b"b", properties=b"p", application_properties=b"a", annotations={Symbol("x-k"): "v"}, priority=4
    )
    kept.namespace.queue("q").send(sent)
    message = take(kept.reopen())
    assert (message.body, message.properties, message.application_properties) == (b"b", b"p", b"a")
    assert (message.annotations, message.priority) == ({Symbol("x-k"): "v"}, 4)
    assert type(next(iter(message.annotations))) is Symbol


def test_lock_survives_and_expires_at_its_time(kept):
    queue = kept.namespace.queue("q")
    queue.send(Message(body=b"b"))
    lock = take(queue).lock_token
    queue = kept.reopen()
    assert queue.counts.locked == 1
    kept.clock.advance(20)
    queue.renew([lock])
    queue = kept.reopen()
    kept.clock.advance(29)
    kept.namespace.timers.run()
    assert queue.counts.locked == 1
    kept.clock.advance(1)
    kept.namespace.timers.run()
    assert take(queue).delivery_count == 1


def test_delivery_count_schedule_deferral_expiry_and_dead_letters_survive(kept):
    queue, now = kept.namespace.queue("q"), kept.clock.now()
    queue.send(Message(body=b"abandoned"))
    queue.abandon(take(queue).lock_token)
    queue.defer(take(queue).lock_token)
    queue.send(Message(body=b"dead"))
    queue.dead_letter(take(queue).lock_token, "r", "d")
    queue.send(Message(body=b"later", annotations={SCHEDULED_ENQUEUE_TIME: Timestamp((now + 60) * 1000)}))
    queue.send(Message(body=b"short", ttl_ms=10_000))

    queue = kept.reopen()

    counts = queue.counts
    assert (counts.active, counts.scheduled, counts.dead_lettered) == (2, 1, 1)
    (deferred,) = queue.receive_deferred([1], is_peek_lock=True)
    assert deferred.delivery_count == 1
    kept.clock.advance(10)
    kept.namespace.timers.run()
    assert queue.counts.active == 1
    kept.clock.advance(50)
    kept.namespace.timers.run()
    assert take(queue).body == b"later"
    assert take(queue.dead_letters).read_application_properties()["DeadLetterReason"] == "r"


def test_sequence_numbers_are_not_given_twice(kept):
    queue = kept.namespace.queue("q")
    number = queue.send(Message())
    queue.complete(take(queue).lock_token)
    assert kept.reopen().send(Message()) == number + 1


def test_deleted_queue_is_gone_with_its_messages(kept):
    kept.namespace.queue("q").send(Message())
    kept.namespace.delete("q")
    kept.namespace.create("q", {})
    assert kept.reopen().counts.total == 0


def test_second_emulator_is_refused_the_same_directory(kept, tmp_path):
    kept.journal.commit()
    with pytest.raises(JournalError, match="give another directory"):
        SqliteJournal(tmp_path)


def test_topic_subscriptions_rules_and_their_messages_survive(kept):
    namespace, now = kept.namespace, kept.clock.now()
    topic = namespace.create_topic("Events", {"UserMetadata": "mine"})
    made = namespace.create_subscription("Events", "Red", {"MaxDeliveryCount": "2"})
    red = FilterDescription("CorrelationFilter", {"Label": "red"}, {"size": ("int", "3"), "at": ("double", "0.5")})
    namespace.create_rule(made, "Red", red)
    namespace.create_rule(made, "gone", FilterDescription())
    topic.send(Message(body=b"before"))
    namespace.delete_rule(made, "GONE")
    namespace.delete_rule(made, "$Default")
    namespace.update_rule(made, "red", red)
    topic.send(Message(body=b"later", annotations={SCHEDULED_ENQUEUE_TIME: Timestamp((now + 60) * 1000)}))
    made.abandon(take(made).lock_token)

    kept.reopen()

    topic = kept.namespace.topic("events")
    assert (topic.name, topic.description.properties["UserMetadata"]) == ("Events", "mine")
    assert topic.scheduled_count == 1
    subscription = kept.namespace.resolve("events/subscriptions/red")
    assert (subscription.title, subscription.description.max_delivery_count) == ("Red", 2)
    assert {name: rule.description for name, rule in subscription.rules.items()} == {"red": red}
    message = take(subscription)
    assert (message.body, message.delivery_count) == (b"before", 1)
    subscription.abandon(message.lock_token)
    assert subscription.counts.dead_lettered == 1
    kept.namespace.update_rule(subscription, "red", FilterDescription())
    kept.clock.advance(60)
    kept.namespace.timers.run()
    kept.reopen()
    subscription = kept.namespace.subscription("Events", "Red")
    assert (subscription.counts.active, subscription.counts.dead_lettered) == (1, 1)
    assert take(subscription).body == b"later"
    assert take(subscription.dead_letters).body == b"before"


def test_numbers_of_a_topic_are_not_given_twice(kept):
    topic = kept.namespace.create_topic("t", {})
    number = topic.send(Message())
    kept.reopen()
    assert kept.namespace.topic("t").send(Message()) == number + 1


def test_what_cannot_be_forwarded_survives(kept):
    kept.namespace.create("end", {})
    start = kept.namespace.create("start", {"ForwardTo": "end"})
    kept.namespace.delete("end")
    start.send(Message(body=b"b"))
    kept.reopen()
    assert kept.namespace.queue("start").counts.transfer_dead_lettered == 1


def test_deleted_topic_is_gone_with_all_that_was_in_it_and_nothing_else(kept):
    kept.namespace.create_topic("t", {})
    kept.namespace.create("t/below", {}).send(Message())
    kept.namespace.create_subscription("t", "s", {})
    kept.namespace.create_rule(kept.namespace.subscription("t", "s"), "old", FilterDescription())
    kept.namespace.topic("t").send(Message())
    kept.namespace.delete("t")
    kept.reopen()
    assert kept.namespace.entities.find("t") is None
    kept.namespace.create_topic("t", {})
    kept.namespace.create_subscription("t", "s", {})
    kept.reopen()
    subscription = kept.namespace.subscription("t", "s")
    assert subscription.counts.total == 0
    assert list(subscription.rules) == ["$default"]
    assert kept.namespace.queue("t/below").counts.active == 1


def test_journal_of_the_format_before_topics_is_read(tmp_path):
    with closing(sqlite3.connect(tmp_path / "messages.sqlite")) as db:
        db.executescript("""
            create table queue (key text primary key, name text not null, properties text not null,
                                created_at real not null, updated_at real not null);
            insert into queue values ('old', 'Old', '{"LockDuration": "PT7S"}', 1, 2);
            pragma user_version = 1;
        """)
    for _ in range(2):
        journal = SqliteJournal(tmp_path)
        queue = Namespace(ManualClock(), journal).queue("old")
        assert (queue.name, queue.description.lock_duration_s, queue.created_at) == ("Old", 7, 1)
        journal.close()


@pytest.mark.chaos
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK leaves sockets open whose peer was killed
def test_kill_9_loses_nothing_that_was_accepted(tmp_path, start_emulator, new_bus):
    process, connection_string = start_emulator("--data", str(tmp_path))
    due = datetime.now(UTC) + timedelta(seconds=3)
    with ExitStack() as stack:
        bus = new_bus(connection_string, stack)
        bus.admin.create_queue("q", lock_duration="PT2S")
        bus.sender("q").send_messages([ServiceBusMessage(str(number)) for number in range(3)])
        bus.sender("q").schedule_messages(ServiceBusMessage("later"), due)
        receiver = bus.receiver("q")
        (first,) = receiver.receive_messages(1, 60)
        receiver.complete_message(first)
        (held,) = receiver.receive_messages(1, 60)
        assert str(held) == "1"
        bus.admin.create_topic("t")
        bus.admin.create_subscription("t", "s")
        bus.topic_sender("t").send_messages(ServiceBusMessage("published"))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _, connection_string = start_emulator("--data", str(tmp_path))
    with ExitStack() as stack:
        bus = new_bus(connection_string, stack)
        receiver, got, deadline = bus.receiver("q"), {}, time.monotonic() + 100
        while len(got) < 3 and time.monotonic() < deadline:
            for message in receiver.receive_messages(1, 60):
                got[str(message)] = message.delivery_count
                receiver.complete_message(message)
        assert got == {"1": 1, "2": 0, "later": 0}
        assert bus.counts("q")["total"] == 0
        assert bus.counts("t", "s")["active"] == 1
    del bus, receiver, held, first, message
    gc.collect()


def test_unusable_directory_ends_the_command_with_a_message(tmp_path):
    SqliteJournal(tmp_path).close()
    (tmp_path / "messages.sqlite").write_bytes(b"not a database" * 100)
    ended = subprocess.run(
        [sys.executable, "-m", "geoetl.emulator", "--port", "0", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1
    assert "Cannot use" in ended.stderr
    assert "Traceback" not in ended.stderr
