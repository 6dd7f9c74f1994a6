"""Which task classes carry the fence, and what orders the messages of one task id."""

import pytest
from celery import Task
from celery.app.task import Context

from geoetl.backend.app import OutboxCelery
from geoetl.backend.claims import version_of
from geoetl.backend.task import FencedTask, fenced


@pytest.fixture
def app() -> OutboxCelery:
    return OutboxCelery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)


def same(x):
    return x


class Base(Task):
    acks_late = False

    def before_start(self, task_id, args, kwargs):
        self.seen = task_id


class Calling(Task):
    def __call__(self, *args, **kwargs):
        return ["called", self.run(*args, **kwargs)]


def test_every_task_of_the_app_is_fenced(app):
    plain = app.task(same, name="plain", shared=False)
    based = app.task(same, name="based", base=Base, shared=False)
    registered = app.register_task(type("Registered", (Base,), {"name": "registered", "run": lambda _: 1}))

    assert all(isinstance(task, FencedTask) for task in (plain, based, registered))
    assert isinstance(app.tasks["celery.chord_unlock"], FencedTask)


def test_an_instance_is_fenced_when_it_is_registered(app):
    task = type("Late", (Base,), {"name": "late", "run": lambda _: 1})()

    assert app.register_task(task) is task
    assert isinstance(task, FencedTask)


def test_a_base_class_keeps_its_options_and_hooks(app):
    task = app.task(same, name="based", base=Base, shared=False)

    task.before_start("id", (), {})

    assert task.seen == "id"
    assert task.acks_late is False


@pytest.mark.parametrize(("said", "expected"), [({}, True), ({"task_acks_late": False}, False)])
def test_tasks_acknowledge_late_unless_the_application_says_otherwise(app, said, expected):
    app.conf.update(said)
    assert app.task(same, name="plain", shared=False).acks_late is expected
    assert app.task(same, name="own", shared=False, acks_late=not expected).acks_late is (not expected)


def test_the_configuration_of_an_object_is_heard(app):
    app.config_from_object({"task_acks_late": False})
    assert app.task(same, name="plain", shared=False).acks_late is False


def test_a_base_class_keeps_its_call(app):
    task = app.task(same, name="calling", base=Calling, shared=False)

    assert task(3) == ["called", 3]


def test_a_fenced_class_stays_itself():
    assert fenced(FencedTask) is FencedTask


@pytest.mark.parametrize("hook", ["before_start", "__call__", "retry", "on_replace"])
def test_a_subclass_may_not_take_the_fence_away(hook):
    with pytest.raises(TypeError, match=f"overrides {hook}"):
        type("Careless", (FencedTask,), {hook: lambda *_: None})


def test_retries_and_replacements_come_later():
    first = version_of(Context(retries=0))
    retried = version_of(Context(retries=7))
    replaced = version_of(Context(retries=0, replaced_task_nesting=1))

    assert first < retried < replaced
    assert version_of(None) == first


def test_an_app_without_postgresql_says_what_the_outbox_needs(app):
    with pytest.raises(Exception, match=r"needs PostgreSQL, but result_backend is .*geoetl\+postgresql://"):
        _ = app.connections
