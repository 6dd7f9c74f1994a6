"""Putting a process together."""

from geoetl.config.settings import Settings
from geoetl.models.tasks import COMPLETE_STAGE, TASKS
from geoetl.worker.app import create_app

ACCOUNT = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a"


def settings(**worker) -> Settings:
    database = {"host": "/nowhere", "dbname": "app", "user": "u"}
    return Settings(
        database={"app": database, "business": {**database, "dbname": "business"}},
        storage={"bronze": {"connection_string": ACCOUNT}, "silver": {"connection_string": ACCOUNT}},
        broker={"connection_string": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=s3cret;"},
        worker=worker,
    )  # type: ignore[arg-type]


def test_every_task_of_the_table_is_registered():
    app = create_app(settings())

    assert {*map(str, TASKS), COMPLETE_STAGE} <= set(app.tasks)


def test_two_apps_of_a_process_share_no_task():
    first, second = create_app(settings()), create_app(settings())

    assert first.tasks[COMPLETE_STAGE].run is not second.tasks[COMPLETE_STAGE].run
    assert second.tasks[COMPLETE_STAGE].app is second


def test_the_broker_url_holds_no_key():
    app = create_app(settings())

    assert "s3cret" not in app.conf.broker_url
    assert "s3cret" not in app.connection_for_write().as_uri()


def test_every_queue_is_declared_by_the_name_it_has_on_the_broker():
    app = create_app(settings())

    assert {queue.name for queue in app.conf.task_queues} == {"standard", "gdal"}
