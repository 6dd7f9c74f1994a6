"""Every form of canvas gives Celery's value, each task runs once and each errback is called once: with every message
delivered once and three times, in a pool of processes and in one of threads."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError, CPendingDeprecationWarning

CANVASES = {
    "task": (lambda t: t.add.s(1, 2), 3),
    "chain": (lambda t: t.add.s(1, 2) | t.add.s(3) | t.add.s(4), 10),
    "group": (lambda t: group(t.add.s(i, i) for i in range(5)), [0, 2, 4, 6, 8]),
    "chord": (lambda t: chord([t.add.s(i, i) for i in range(10)], t.xsum.s()), 90),
    "chord of one": (lambda t: chord([t.add.s(1, 1)], t.xsum.s()), 2),
    "chord of a generator": (lambda t: chord((t.add.s(i, i) for i in range(10)), t.xsum.s()), 90),
    "chord of none": (lambda t: chord([], t.xsum.s()), 0),
    "chord in a chain": (lambda t: t.add.s(1, 1) | group(t.add.s(1), t.add.s(2)) | t.xsum.s() | t.add.s(10), 17),
    "chord in a chord": (
        lambda t: chord([chord([t.add.s(1, 1), t.add.s(2, 2)], t.xsum.s()), t.add.s(3, 3)], t.xsum.s()),
        12,
    ),
    "chain in a chord": (lambda t: chord([t.add.s(1, 1) | t.add.s(1), t.add.s(2, 2) | t.add.s(1)], t.xsum.s()), 8),
    "chain as a body": (lambda t: chord([t.add.s(1, 1), t.add.s(2, 2)], t.xsum.s() | t.add.s(5)), 11),
    "group as a body": (lambda t: group(t.add.s(1, 1), t.add.s(2, 2)) | group(t.xsum.s(), t.xsum.s()), [6, 6]),
    "group in a chord": (
        lambda t: chord([group(t.add.s(1, 1), t.add.s(2, 2)), t.add.s(3, 3)], t.ident.s()),
        [4, 2, 6],  # as stock Celery on Redis orders it
    ),
    "group that is replaced in a chord": (
        lambda t: chord([t.replaced_by_group.s(1), t.add.s(3, 3)], t.ident.s()),
        [[2, 3], 6],
    ),
    "retry": (lambda t: t.flaky.s(7), 7),
    "automatic retry": (lambda t: t.autoretried.s(7), 7),
    "retry in a chord": (lambda t: chord([t.flaky.s(1), t.flaky.s(2), t.add.s(1, 1)], t.xsum.s()), 5),
    "replace": (lambda t: t.replaced.s(1), 101),
    "replace in a chord": (lambda t: chord([t.replaced.s(1), t.replaced.s(2)], t.xsum.s()), 203),
    "replace by a chord": (lambda t: t.replaced_by_chord.s(1), 5),
    "replace by a chord in a chord": (lambda t: chord([t.replaced_by_chord.s(1), t.add.s(1, 1)], t.xsum.s()), 7),
    "addition to a chord": (lambda t: chord([t.joins_its_chord.s(1), t.joins_its_chord.s(2)], t.xsum.s()), 2006),
    "immutable body": (lambda t: chord([t.add.s(1, 1), t.add.s(2, 2)], t.add.si(5, 5)), 10),
    "link": (lambda t: t.add.s(1, 1).set(link=t.effect.s()), 2),
    "map": (lambda t: t.ident.map([1, 2, 3]), [1, 2, 3]),
    "chunks": (lambda t: t.add.chunks([(1, 1), (2, 2), (3, 3)], 2), [[2, 4], [6]]),
    "chord of fifty effects": (lambda t: chord([t.effect.s(i) for i in range(50)], t.xsum.s()), 1225),
    "ignored header part": (lambda t: chord([t.ignored.s(1), t.add.s(1, 1)], t.ident.s()), [None, 2]),
    "states of its own": (lambda t: t.reports.s(3), 3),
    "long chain": (lambda t: chain(t.add.s(0, 0), *(t.add.s(1) for _ in range(20))), 20),
}

FAILURES = {
    "task": (lambda t: t.boom.s(), ValueError, "boom"),
    "link error": (lambda t: t.boom.s().on_error(t.errback.s()), ValueError, "boom"),
    "header": (lambda t: chord([t.add.s(1, 1), t.boom.s(), t.boom.s()], t.xsum.s()), ChordError, "boom"),
    "errback of a body": (
        lambda t: chord([t.boom.s(), t.boom.s()], t.xsum.s().on_error(t.errback.s())),
        ChordError,
        "boom",
    ),
    "chain in a header": (lambda t: chord([t.boom.s() | t.add.s(1), t.add.s(1, 1)], t.xsum.s()), ChordError, "boom"),
    "chord in a header": (
        lambda t: chord([chord([t.boom.s(), t.add.s(1, 1)], t.xsum.s()), t.add.s(1, 1)], t.xsum.s()),
        ChordError,
        "boom",
    ),
    "revoked header part": (
        lambda t: chord([t.add.s(1, 1).set(expires=datetime.now(UTC) - timedelta(days=1)), t.add.s(2, 2)], t.xsum.s()),
        ChordError,
        "expired",
    ),
    "body": (lambda t: chord([t.add.s(1, 1)], t.boom.s()), ValueError, "boom"),
}


@pytest.fixture(scope="module", params=["once", "three times", "three times, threads"])
def worker(request, start_canvas_worker):
    arguments = ("-P", "threads", "-c", "4") if request.param.endswith("threads") else ("-c", "3")
    return start_canvas_worker(*arguments, copies=1 if request.param == "once" else 3)


@pytest.fixture(autouse=True)
def _only_this_test(worker):
    worker.sql("TRUNCATE done")


def runs(worker) -> Counter[str]:
    """How often each task ran, of those that tell."""
    return Counter(worker.done("effect"))


@pytest.mark.parametrize("name", CANVASES)
def test_a_canvas_gives_its_value_and_each_task_runs_once(worker, name):
    make, expected = CANVASES[name]

    result = worker.submit(make(worker.tasks))

    assert result.get(timeout=60) == expected
    worker.settle()
    assert set(runs(worker).values()) <= {1}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_arrives_once_where_it_is_waited_for(worker, name):
    make, error, message = FAILURES[name]

    result = worker.submit(make(worker.tasks))

    failure = result.get(timeout=60, propagate=False)  # else the first failure of a parent is raised
    assert isinstance(failure, error)
    assert message in str(failure)
    worker.settle()
    assert len(worker.done("errback")) == (1 if "err" in name else 0)


def test_a_linked_task_runs_once(worker):
    worker.submit(worker.tasks.add.s(1, 1).set(link=worker.tasks.effect.s())).get(timeout=60)

    worker.settle()

    assert len(worker.done("effect")) == 1


def test_each_try_of_a_retried_task_runs_once(worker):
    result = worker.submit(worker.tasks.flaky.s(1))

    assert result.get(timeout=60) == 1
    worker.settle()
    assert worker.done("try") == [result.id] * 3


def test_hooks_of_an_application_s_own_base_class_run_after_the_claim(worker):
    result = worker.submit(worker.tasks.autoretried.s(1))

    assert result.get(timeout=60) == 1
    worker.settle()
    assert worker.done("base hook") == [result.id] * 2


def test_a_task_whose_result_is_ignored_runs_once_and_shows_nothing(worker):
    result = worker.submit(worker.tasks.forgettable.s(1))

    worker.settle()

    assert worker.done("forgettable") == [result.id]
    assert worker.app.AsyncResult(result.id).state == "PENDING"


def test_a_frozen_canvas_that_is_sent_again_runs_again(worker):
    canvas = chord(group(worker.tasks.effect.s(1), worker.tasks.effect.s(2)), worker.tasks.effect.s())
    canvas.freeze()
    for times in (1, 2):
        worker.submit(canvas)
        worker.eventually(lambda times=times: len(worker.done("effect")) == 3 * times)
        worker.settle()
        assert set(runs(worker).values()) == {times}


def test_a_group_that_was_never_sent_raises_what_came_before_it(worker):
    result = worker.submit(worker.tasks.boom.s() | group(worker.tasks.add.s(1), worker.tasks.add.s(2)))

    with pytest.raises(ValueError, match="boom"):
        result.get(timeout=60)


def test_an_immutable_errback_runs_once_and_sees_the_failure(worker):
    failing = worker.tasks.boom.s()
    failing.on_error(worker.tasks.state_seen.si(failing.freeze().id, "errback"))

    worker.submit(failing).get(timeout=60, propagate=False)

    worker.settle()
    assert worker.done("state seen by errback") == ["FAILURE"]


def test_an_errback_of_a_chord_is_called_once_for_a_chord_in_its_header(worker):
    inner = chord([worker.tasks.boom.s(), worker.tasks.add.si(1, 1)], worker.tasks.xsum.s())
    outer = chord(group(worker.tasks.add.si(1, 1), inner), worker.tasks.xsum.s())
    with pytest.warns(CPendingDeprecationWarning):
        outer.link_error(worker.tasks.errback.s())

    result = worker.submit(outer)

    assert isinstance(result.get(timeout=60, propagate=False), ChordError)
    worker.settle()
    assert worker.done("errback") == [result.id]
