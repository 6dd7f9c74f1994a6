"""The backend's URL: found by its scheme, and never shown with its password."""

import pytest
from celery import Celery
from celery.app.backends import by_url
from celery.exceptions import ImproperlyConfigured

from geoetl.backend.__main__ import main
from geoetl.backend.connections import UrlConnections, shared_connections
from geoetl.backend.results import PostgresBackend

URL = "geoetl+postgresql://ann:secret@db.example:6432/shop"


def test_the_scheme_names_the_backend():
    assert by_url(URL) == (PostgresBackend, URL.removeprefix("geoetl+"))


def test_any_celery_app_takes_the_url():
    app = Celery("plain", broker="memory://", backend=URL, set_as_current=False)

    assert app.backend.as_uri() == "postgresql://ann@db.example:6432/shop"
    assert app.backend.as_uri(include_password=True) == URL.removeprefix("geoetl+")


def test_the_apps_of_a_process_share_connections():
    apps = [Celery("plain", broker="memory://", backend=URL, set_as_current=False) for _ in range(2)]

    assert apps[0].backend.connections is apps[1].backend.connections
    assert shared_connections("dbname=a") is not shared_connections("dbname=b")


def test_a_socket_folder_is_a_host():
    assert UrlConnections("postgresql:///shop?host=/run/pg&user=ann").address() == "postgresql://ann@/run/pg/shop"


def test_without_a_database_the_backend_says_what_to_set():
    app = Celery("plain", broker="memory://", set_as_current=False)

    with pytest.raises(ImproperlyConfigured, match=r"geoetl\+postgresql://"):
        PostgresBackend(app)


@pytest.mark.parametrize("words", [[], ["remove"], ["install"]])
def test_the_command_shows_how_it_is_used(words, capsys):
    assert main(words) == 2
    assert "python -m geoetl.backend install postgresql://" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["notaurl", "postgresql://[half", "redis://somewhere/0"])
def test_the_command_refuses_what_is_no_address_of_a_database(url, capsys):
    assert main(["install", url]) == 2

    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "postgresql://" in told


def test_the_command_shows_no_password_of_an_address_that_is_none(capsys):
    assert main(["install", "postgresql://ann:sec ret@db/shop"]) == 2

    assert "sec ret" not in capsys.readouterr().err
