"""Topics and subscriptions by a clock that is moved."""

import pytest

from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.encode import encode_described
from geoetl.emulator.filters import CORRELATION_FILTER, FilterDescription
from geoetl.emulator.message import PROPERTIES, Message
from geoetl.emulator.subscription import Subscription
from geoetl.emulator.topic import Topic
from tests.unit.emulator.world import Taker, World, take, token


class Publishing(World):
    """A topic `t`."""

    def __init__(self) -> None:
        super().__init__()
        self.topic: Topic = self.namespace.create_topic("t", {})

    def subscription(self, name: str = "s", **properties: str) -> Subscription:
        return self.namespace.create_subscription("t", name, properties)

    def publish(self, label: str) -> None:
        self.topic.send(Message(body=label.encode(), properties=encode_described(PROPERTIES, [None] * 3 + [label])))


@pytest.fixture
def world() -> Publishing:
    return Publishing()


def label_is(label: str) -> FilterDescription:
    return FilterDescription(CORRELATION_FILTER, {"Label": label})


def bodies(subscription: Subscription) -> list[bytes]:
    return [message.body for message in subscription.peek(0, 99)]


def test_every_subscription_gets_a_copy_of_its_own(world):
    one, two = world.subscription("one"), world.subscription("two")
    world.publish("x")
    one.complete(token(take(one)))
    assert (one.counts.total, two.counts.total) == (0, 1)
    two.abandon(token(take(two)), {"k": "v"})
    assert take(two).read_application_properties() == {"k": "v"}


def test_subscription_gets_what_comes_after_it_only(world):
    world.publish("early")
    subscription = world.subscription()
    world.publish("late")
    assert bodies(subscription) == [b"late"]


def test_copy_tells_the_number_the_topic_gave_it(world):
    world.publish("unseen")
    subscription = world.subscription()
    world.publish("seen")
    message = take(subscription)
    assert (message.sequence_number, message.annotations["x-opt-enqueue-sequence-number"]) == (1, 2)


def test_waiting_consumer_of_a_subscription_is_woken(world):
    subscription, taker = world.subscription(), Taker()
    subscription.wait(taker)
    world.publish("x")
    assert taker.taken[0].body == b"x"


def test_rules_choose_and_one_that_matches_is_enough(world):
    subscription = world.subscription()
    world.namespace.create_rule(subscription, "red", label_is("red"))
    world.publish("blue")
    world.namespace.delete_rule(subscription, "$Default")
    for label in ("red", "green", "blue"):
        world.publish(label)
    world.namespace.create_rule(subscription, "also", label_is("red"))
    world.publish("red")
    world.namespace.update_rule(subscription, "ALSO", label_is("green"))
    world.publish("green")
    assert bodies(subscription) == [b"blue", b"red", b"red", b"green"]


def test_subscription_without_rules_gets_nothing(world):
    subscription = world.subscription()
    world.namespace.delete_rule(subscription, "$default")
    world.publish("x")
    assert subscription.counts.total == 0


def test_subscription_may_be_made_with_another_first_rule(world):
    subscription = world.namespace.create_subscription("t", "s", {}, rule_name="red", rule_filter=label_is("red"))
    world.publish("blue")
    world.publish("red")
    assert bodies(subscription) == [b"red"]
    assert list(subscription.rules) == ["red"]


def test_refused_first_rule_leaves_no_subscription(world):
    with pytest.raises(ServiceBusError, match="at least one property"):
        world.namespace.create_subscription("t", "s", {}, rule_filter=FilterDescription(CORRELATION_FILTER))
    assert world.topic.subscriptions == {}


@pytest.mark.parametrize(("setting", "dead"), [({}, 1), ({"DeadLetteringOnFilterEvaluationExceptions": "false"}, 0)])
def test_message_no_filter_can_read_is_a_dead_letter_or_dropped(world, setting, dead):
    subscription = world.subscription(**setting)
    world.namespace.delete_rule(subscription, "$Default")
    world.namespace.create_rule(subscription, "red", label_is("red"))
    world.topic.send(Message(properties=b"\x00\x53\x73\xff"))
    assert (subscription.counts.active, subscription.counts.dead_lettered) == (0, dead)
    if dead:
        assert take(subscription.dead_letters).read_application_properties()["DeadLetterReason"] == "FilterException"


def test_scheduled_message_is_published_at_its_time_to_those_there_are_then(world):
    number = world.send(world.topic, "later", due_in=60)
    cancelled = world.send(world.topic, "never", due_in=60)
    subscription = world.subscription()
    assert (world.topic.scheduled_count, subscription.counts.total) == (2, 0)
    world.topic.cancel_scheduled(cancelled)
    with pytest.raises(ServiceBusError, match="message-not-found"):
        world.topic.cancel_scheduled(cancelled)
    world.pass_time(60)
    assert (world.topic.scheduled_count, bodies(subscription)) == (0, [b"later"])
    assert take(subscription).annotations["x-opt-enqueue-sequence-number"] > number


def test_the_shortest_time_to_live_counts(world):
    world.namespace.update_topic("t", {"DefaultMessageTimeToLive": "PT60S"})
    long, short = world.subscription("long"), world.subscription("short", DefaultMessageTimeToLive="PT30S")
    world.send(world.topic, "own", ttl_s=10)
    world.send(world.topic, "default", ttl_s=600)
    seen = []
    for _ in range(3):
        seen.append((bodies(long), bodies(short)))
        world.pass_time(20)
    assert seen == [
        ([b"own", b"default"], [b"own", b"default"]),
        ([b"default"], [b"default"]),
        ([b"default"], []),
    ]
    assert long.counts.total == 0


def test_dead_letters_of_a_subscription_have_their_address(world):
    subscription = world.subscription(MaxDeliveryCount="1", LockDuration="PT5S")
    world.publish("x")
    take(subscription)
    world.pass_time(5)
    dead = world.namespace.resolve("amqps://host/T/subscriptions/S/$deadletterqueue")
    assert dead is subscription.dead_letters
    assert take(dead).read_application_properties()["DeadLetterReason"] == "MaxDeliveryCountExceeded"
    assert subscription.counts.dead_lettered == 1


def test_nobody_sends_to_a_subscription(world):
    with pytest.raises(ServiceBusError, match="not-allowed"):
        world.subscription().send(Message())


def test_forwarding_subscription_fills_a_queue(world):
    queue = world.queue("q")
    subscription = world.subscription(ForwardTo="q")
    world.publish("x")
    assert (subscription.counts.total, queue.counts.active) == (0, 1)
    assert take(queue).body == b"x"


def test_topic_behind_a_subscription_publishes_what_it_gets(world):
    world.namespace.create_topic("second", {})
    end = world.namespace.create_subscription("second", "end", {})
    world.subscription(ForwardTo="second")
    world.publish("x")
    assert bodies(end) == [b"x"]


def test_idle_subscription_deletes_itself_though_messages_come(world):
    gone: list[str] = []
    world.namespace.on_deleted = lambda entity: gone.append(entity.name)
    subscription = world.subscription(AutoDeleteOnIdle="PT5M")
    world.pass_time(299)
    world.publish("unread")
    world.pass_time(1)
    assert subscription.is_deleted
    assert gone[0] == "t/Subscriptions/s"
    assert world.topic.subscriptions == {}
    world.publish("x")


def test_subscription_someone_receives_from_is_not_idle(world):
    subscription, taker = world.subscription(AutoDeleteOnIdle="PT5M"), Taker()
    subscription.wait(taker)
    world.pass_time(3600)
    assert not subscription.is_deleted
    subscription.forget(taker)
    world.pass_time(300)
    assert subscription.is_deleted


def test_new_rule_keeps_a_subscription_from_going_idle(world):
    subscription = world.subscription(AutoDeleteOnIdle="PT5M")
    world.pass_time(299)
    world.namespace.create_rule(subscription, "r", label_is("x"))
    world.pass_time(299)
    assert not subscription.is_deleted


def test_idle_topic_goes_with_its_subscriptions(world):
    topic = world.namespace.create_topic("short", {"AutoDeleteOnIdle": "PT5M"})
    subscription = world.namespace.create_subscription("short", "s", {})
    world.pass_time(200)
    topic.send(Message())
    world.pass_time(200)
    take(subscription)
    world.pass_time(299)
    assert not topic.is_deleted
    subscription.expire_locks()
    world.pass_time(300)
    assert topic.is_deleted
    assert subscription.is_deleted
    with pytest.raises(ServiceBusError, match="not-found"):
        world.namespace.resolve("short/subscriptions/s")


def test_deleted_topic_is_announced_with_all_that_was_in_it(world):
    world.subscription()
    gone: list[str] = []
    world.namespace.on_deleted = lambda entity: gone.append(entity.name)
    world.namespace.delete("T")
    assert gone == [
        "t",
        "t/Subscriptions/s",
        "t/Subscriptions/s/$DeadLetterQueue",
        "t/Subscriptions/s/$Transfer/$DeadLetterQueue",
    ]


@pytest.mark.parametrize(
    "address", ["t/Subscriptions/s", "T/subscriptions/S", "amqps://host:1/t/Subscriptions/s/", "/t/SUBSCRIPTIONS/s"]
)
def test_addresses_of_a_subscription_find_it(world, address):
    subscription = world.subscription("s")
    assert world.namespace.resolve(address) is subscription


@pytest.mark.parametrize(
    "address",
    ["t/Subscriptions/x", "x/Subscriptions/s", "t/$deadletterqueue", "t/subscriptions", "q/Subscriptions/s"],
)
def test_unknown_address_is_not_found(world, address):
    world.subscription("s")
    world.queue("q")
    with pytest.raises(ServiceBusError, match="not-found"):
        world.namespace.resolve(address)


def test_queues_and_topics_share_their_names(world):
    world.queue("q")
    with pytest.raises(ServiceBusError, match="already exists"):
        world.namespace.create_topic("Q", {})
    with pytest.raises(ServiceBusError, match="already exists"):
        world.namespace.create("T", {})
    world.subscription("s")
    with pytest.raises(ServiceBusError, match="already exists"):
        world.subscription("S")
    with pytest.raises(ServiceBusError, match="already exists"):
        world.namespace.create_rule(world.namespace.subscription("t", "s"), "$DEFAULT", label_is("x"))


def test_names_of_subscriptions_and_rules_have_at_most_50_characters(world):
    subscription = world.subscription("x" * 50)
    world.namespace.create_rule(subscription, "r" * 50, label_is("x"))
    with pytest.raises(ServiceBusError, match="exceeds the '50' character limit") as refused:
        world.subscription("x" * 51)
    assert refused.value.status == 400
    with pytest.raises(ServiceBusError, match="exceeds the '50' character limit"):
        world.namespace.create_rule(subscription, "r" * 51, label_is("x"))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "$x", "-a", "a-", "ü"])
def test_bad_name_of_a_subscription_is_refused(world, name):
    with pytest.raises(ServiceBusError, match="cannot be the name"):
        world.subscription(name)


def test_missing_topic_subscription_and_rule_are_not_found(world):
    namespace, subscription = world.namespace, world.subscription()
    for attempt in (
        lambda: namespace.create_subscription("x", "s", {}),
        lambda: namespace.update_topic("x", {}),
        lambda: namespace.delete_subscription("t", "x"),
        lambda: namespace.delete_rule(subscription, "x"),
        lambda: namespace.update_rule(subscription, "x", label_is("x")),
        lambda: namespace.queue("t"),
    ):
        with pytest.raises(ServiceBusError, match="not-found"):
            attempt()
