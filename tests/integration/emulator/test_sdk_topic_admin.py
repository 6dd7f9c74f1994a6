"""Administration of topics, subscriptions and rules through the SDK."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.servicebus.management import (
    CorrelationRuleFilter,
    FalseRuleFilter,
    SqlRuleAction,
    SqlRuleFilter,
    TrueRuleFilter,
)

# The SDK asks XML elements for their truth when it reads rules.
pytestmark = pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")


def test_topic_keeps_its_settings(bus):
    name = bus.topic(
        default_message_time_to_live=timedelta(days=2),
        auto_delete_on_idle=timedelta(minutes=10),
        max_size_in_megabytes=2048,
        support_ordering=True,
        user_metadata="for <you>",
    )
    topic = bus.admin.get_topic(name)
    assert (topic.name, topic.status, topic.user_metadata) == (name, "Active", "for <you>")
    assert topic.default_message_time_to_live == timedelta(days=2)
    assert topic.auto_delete_on_idle == timedelta(minutes=10)
    assert topic.max_size_in_megabytes == 2048

    topic.auto_delete_on_idle = timedelta(minutes=20)
    bus.admin.update_topic(topic)

    assert bus.admin.get_topic(name).auto_delete_on_idle == timedelta(minutes=20)
    assert bus.admin.get_topic(name).default_message_time_to_live == timedelta(days=2)
    assert name in {each.name for each in bus.admin.list_topics()}
    assert name in {each.name for each in bus.admin.list_topics_runtime_properties()}
    assert name not in {each.name for each in bus.admin.list_queues()}
    bus.admin.delete_topic(name)
    with pytest.raises(ResourceNotFoundError):
        bus.admin.get_topic(name)


def test_subscription_keeps_its_settings(bus):
    queue, topic = bus.queue(), bus.topic()
    bus.admin.create_subscription(
        topic,
        "Kept",
        lock_duration=timedelta(seconds=7),
        max_delivery_count=4,
        default_message_time_to_live=timedelta(hours=2),
        dead_lettering_on_message_expiration=True,
        dead_lettering_on_filter_evaluation_exceptions=False,
        auto_delete_on_idle=timedelta(minutes=5),
        forward_dead_lettered_messages_to=queue,
        user_metadata="mine",
    )
    kept = bus.admin.get_subscription(topic, "Kept")
    assert (kept.name, kept.max_delivery_count, kept.user_metadata) == ("Kept", 4, "mine")
    assert (kept.lock_duration, kept.default_message_time_to_live) == (timedelta(seconds=7), timedelta(hours=2))
    assert kept.dead_lettering_on_message_expiration is True
    assert kept.dead_lettering_on_filter_evaluation_exceptions is False
    assert kept.auto_delete_on_idle == timedelta(minutes=5)
    assert kept.forward_dead_lettered_messages_to.endswith(f"/{queue}")

    kept.max_delivery_count = 5
    bus.admin.update_subscription(topic, kept)

    assert bus.admin.get_subscription(topic, "Kept").max_delivery_count == 5
    assert bus.admin.get_subscription(topic, "Kept").lock_duration == timedelta(seconds=7)
    assert [each.name for each in bus.admin.list_subscriptions(topic)] == ["Kept"]
    assert [each.name for each in bus.admin.list_subscriptions_runtime_properties(topic)] == ["Kept"]
    assert bus.admin.get_topic_runtime_properties(topic).subscription_count == 1
    with pytest.raises(ResourceExistsError):
        bus.admin.create_subscription(topic, "kept")
    bus.admin.delete_subscription(topic, "Kept")
    with pytest.raises(ResourceNotFoundError):
        bus.admin.get_subscription(topic, "Kept")
    with pytest.raises(ResourceNotFoundError):
        bus.admin.delete_subscription(topic, "Kept")


def test_rule_of_a_new_subscription_lets_everything_pass(bus):
    topic = bus.topic("all")
    (rule,) = bus.admin.list_rules(topic, "all")
    assert rule.name == "$Default"
    assert isinstance(rule.filter, TrueRuleFilter)
    assert isinstance(bus.admin.get_rule(topic, "all", "$Default").filter, TrueRuleFilter)


def test_correlation_filter_keeps_all_it_names(bus):
    topic = bus.topic("s")
    properties = {"text": "a<b", "int": 3, "long": 1 << 40, "double": 0.5, "bool": True}
    at = datetime(2000, 1, 2, 3, 4, 5, tzinfo=UTC)
    given = CorrelationRuleFilter(
        correlation_id="c",
        message_id="m",
        to="t",
        reply_to="r",
        label="l",
        session_id="s",
        reply_to_session_id="rs",
        content_type="ct",
        properties={**properties, "at": at},
    )
    bus.admin.create_rule(topic, "s", "full", filter=given)
    kept = bus.admin.get_rule(topic, "s", "full").filter
    assert (kept.correlation_id, kept.message_id, kept.to, kept.reply_to) == ("c", "m", "t", "r")
    assert (kept.label, kept.session_id, kept.reply_to_session_id, kept.content_type) == ("l", "s", "rs", "ct")
    assert dict(kept.properties) == {**properties, "at": at}


def test_rules_are_made_changed_listed_and_deleted(bus):
    topic = bus.topic("s")
    bus.admin.create_rule(topic, "s", "sql", filter=SqlRuleFilter("size = @size", parameters={"@size": 3}))
    bus.admin.create_rule(topic, "s", "none", filter=FalseRuleFilter())
    with pytest.raises(ResourceExistsError):
        bus.admin.create_rule(topic, "s", "none", filter=FalseRuleFilter())
    rules = {rule.name: rule for rule in bus.admin.list_rules(topic, "s")}
    assert set(rules) == {"$Default", "sql", "none"}
    assert rules["sql"].filter.sql_expression == "size = @size"
    assert dict(rules["sql"].filter.parameters) == {"@size": 3}
    assert isinstance(rules["none"].filter, FalseRuleFilter)

    rules["none"].filter = CorrelationRuleFilter(label="x")
    bus.admin.update_rule(topic, "s", rules["none"])
    bus.admin.delete_rule(topic, "s", "$Default")

    assert bus.admin.get_rule(topic, "s", "none").filter.label == "x"
    assert {rule.name for rule in bus.admin.list_rules(topic, "s")} == {"sql", "none"}
    with pytest.raises(ResourceNotFoundError):
        bus.admin.get_rule(topic, "s", "$Default")
    with pytest.raises(ResourceNotFoundError):
        bus.admin.delete_rule(topic, "s", "$Default")


def test_forwarding_in_a_circle_or_to_nowhere_is_a_bad_request(bus):
    topic = bus.topic()
    queue = bus.queue(forward_to=topic)
    for to in (queue, "nowhere"):
        with pytest.raises(HttpResponseError) as refused:
            bus.admin.create_subscription(topic, "s", forward_to=to)
        assert refused.value.status_code == 400


def test_what_is_not_emulated_is_refused_as_not_implemented(our_bus):
    topic = our_bus.topic("all")
    for rule in (
        {"filter": SqlRuleFilter("size > 3")},
        {"filter": CorrelationRuleFilter(properties={"in": timedelta(1)})},
        {"filter": TrueRuleFilter(), "action": SqlRuleAction("SET a = 1")},
    ):
        with pytest.raises(HttpResponseError) as refused:
            our_bus.admin.create_rule(topic, "all", "special", **rule)
        assert refused.value.status_code == 501
    with pytest.raises(HttpResponseError) as refused:
        our_bus.admin.create_subscription(topic, "sessions", requires_session=True)
    assert refused.value.status_code == 501
