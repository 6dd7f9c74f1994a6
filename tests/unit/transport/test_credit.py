from dataclasses import dataclass, field

import pytest

from geoetl.transport.credit import GATHER_S, UNLIMITED_PREFETCH, WITHDRAW_AFTER_S, Budget, credit_to_issue


@dataclass(eq=False)
class FakeLink:
    name: str
    last_served: int = 0


@dataclass(eq=False)
class FakeDelivery:
    link: FakeLink = field(default_factory=lambda: FakeLink("a"))


def deliver_all(budget):
    """Deliver and number what there are slots for, as the reactor does; the names of the links in order."""
    order = ""
    while (delivery := budget.next_to_deliver()) is not None:
        served = max((d.link.last_served for d in [*budget.with_app, *budget.waiting]), default=0)
        delivery.link.last_served = served + 1
        order += delivery.link.name
    return order


def test_free_slots_are_what_neither_runs_nor_waits():
    budget = Budget(prefetch_count=4)
    budget.waiting = [FakeDelivery(), FakeDelivery()]
    assert budget.next_to_deliver() is not None
    assert budget.free_slots == 2


def test_free_slots_are_never_negative_when_more_arrived_than_asked_for():
    budget = Budget(prefetch_count=1)
    budget.waiting = [FakeDelivery(), FakeDelivery(), FakeDelivery()]
    assert budget.free_slots == 0


def test_nothing_is_delivered_without_a_slot():
    budget = Budget(prefetch_count=1)
    budget.waiting = [FakeDelivery(), FakeDelivery()]
    budget.next_to_deliver()
    assert budget.next_to_deliver() is None
    assert len(budget.waiting) == 1


def test_slot_of_a_settled_delivery_is_free_again():
    budget = Budget(prefetch_count=1)
    budget.waiting = [FakeDelivery()]
    delivery = budget.next_to_deliver()
    budget.forget(delivery)
    assert budget.free_slots == 1


def test_prefetch_zero_is_bounded():
    assert Budget(prefetch_count=0).free_slots == UNLIMITED_PREFETCH


def test_lower_prefetch_takes_nothing_back_from_the_application():
    budget = Budget(prefetch_count=2)
    budget.waiting = [FakeDelivery(), FakeDelivery()]
    deliver_all(budget)
    budget.prefetch_count = 1
    assert len(budget.with_app) == 2
    assert budget.free_slots == 0


def test_queue_served_longest_ago_is_served_next():
    a, b = FakeLink("a"), FakeLink("b")
    budget = Budget(prefetch_count=6)
    budget.waiting = [FakeDelivery(a), FakeDelivery(a), FakeDelivery(a), FakeDelivery(b), FakeDelivery(b)]
    assert deliver_all(budget) == "ababa"


@pytest.mark.parametrize(
    ("wanted", "current", "issued"),
    [(4, 0, 4), (4, 2, 4), (4, 3, None), (4, 4, None), (1, 0, 1), (0, 4, 0), (2, 4, 2), (0, 0, None)],
)
def test_flow_frame_is_sent_only_when_worth_it(wanted, current, issued):
    assert credit_to_issue(wanted=wanted, current=current) == issued


def filled(slots, *, taken):
    budget = Budget(prefetch_count=slots)
    budget.with_app = {FakeDelivery() for _ in range(taken)}
    return budget


def test_credit_of_a_full_budget_stays_for_a_moment():
    budget = filled(2, taken=2)
    assert budget.hold(100.0) == pytest.approx(WITHDRAW_AFTER_S)
    assert budget.hold(100.0 + WITHDRAW_AFTER_S / 2) == pytest.approx(WITHDRAW_AFTER_S / 2)
    assert budget.hold(100.0 + WITHDRAW_AFTER_S) is None


def test_one_free_slot_of_many_waits_for_another_but_not_for_long():
    budget = filled(8, taken=7)
    assert budget.hold(100.0) == pytest.approx(GATHER_S)
    assert budget.hold(100.0 + GATHER_S) is None
    budget.with_app.pop()
    assert budget.hold(100.0 + GATHER_S / 2) is None


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_one_free_slot_of_few_is_given_at_once(slots):
    assert filled(slots, taken=slots - 1).hold(100.0) is None


def test_being_full_again_counts_from_then():
    budget = filled(1, taken=1)
    budget.hold(100.0)
    taken, budget.with_app = budget.with_app, set()
    assert budget.hold(100.01) is None
    budget.with_app = taken
    assert budget.hold(100.03) == pytest.approx(WITHDRAW_AFTER_S)
