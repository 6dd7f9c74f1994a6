import logging

import pytest

from geoetl.transport import options
from geoetl.transport.errors import InvalidOptionError
from geoetl.transport.options import Options


@pytest.fixture(autouse=True)
def _nothing_warned_of_yet(monkeypatch):
    monkeypatch.setattr(options, "_warned", set())


def test_option_of_kombus_transport_is_answered_with_its_replacement(caplog):
    with caplog.at_level(logging.WARNING):
        Options.from_dict({"peek_lock_seconds": 60})
    assert "use `lock_duration_s`" in caplog.text


def test_misspelt_option_is_told_with_the_known_ones(caplog):
    with caplog.at_level(logging.WARNING):
        Options.from_dict({"lock_duration": 60})
    assert "lock_duration_s" in caplog.text


def test_warning_comes_once(caplog):
    for _ in range(3):
        Options.from_dict({"peek_lock_seconds": 60})
    assert len(caplog.records) == 1


def test_options_of_kombu_itself_pass_in_silence(caplog):
    assert Options.from_dict({"max_retries": 3, "interval_start": 0}) == Options()
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "value"),
    [("lock_duration_s", 301), ("lock_duration_s", 0), ("max_delivery_count", 0), ("send_attempts", 0),
     ("transport_type", "http"), ("http_proxy", "proxy:3128"), ("http_proxy", "http://me:a/b@proxy:3128")],
)  # fmt: skip
def test_value_that_cannot_be_honoured_is_refused(name, value):
    with pytest.raises(InvalidOptionError, match=name):
        Options.from_dict({name: value})


def test_secrets_are_not_shown():
    assert "SECRET" not in repr(Options.from_dict({"connection_string": "SharedAccessKey=SECRET"}))
