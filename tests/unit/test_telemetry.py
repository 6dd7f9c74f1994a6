"""What processes log: attempts are named, secrets are not."""

import json
import logging

import pytest
import structlog

from geoetl.telemetry import configure_logging, log_attempt, log_no_attempt, redact


@pytest.fixture
def written(capsys):
    """Configure logging, and say what was written since; the logging of the tests comes back."""
    root = logging.getLogger()
    before = (root.handlers, root.level)

    def configured(*, as_json: bool):
        configure_logging("INFO", as_json=as_json)
        return lambda: capsys.readouterr().err

    yield configured
    root.handlers, root.level = before
    log_no_attempt()
    structlog.reset_defaults()


def fail():
    password = "hunter-" + "2"  # so that only the value of a variable has it whole
    raise ConnectionError(f"cannot reach https://account.blob.core.windows.net/c?sig=abc%2Fdef {len(password)}")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("get", [logging.getLogger, structlog.get_logger])
def test_a_traceback_has_no_values_and_no_secrets(written, as_json, get):
    log = written(as_json=as_json)
    try:
        fail()
    except ConnectionError:
        get("geoetl.test").exception("no luck")

    said = log()
    assert "in fail" in said
    assert "ConnectionError: cannot reach https://account.blob.core.windows.net/c?sig=***" in said
    assert "hunter-2" not in said
    assert "abc%2Fdef" not in said
    if as_json:
        (line,) = said.splitlines()
        assert json.loads(line)["event"] == "no luck"


@pytest.mark.parametrize("get", [logging.getLogger, structlog.get_logger])
def test_a_line_names_the_attempt_of_its_thread(written, get):
    log = written(as_json=True)
    about = {"job": "j", "run": "r", "stage": "convert", "task": "t", "attempt": 2}
    log_attempt(**about)
    get("geoetl.test").info("halfway")
    log_no_attempt()
    get("geoetl.test").info("done")

    halfway, done = map(json.loads, log().splitlines())
    assert {name: halfway[name] for name in about} == about
    assert not set(about) & set(done)


@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_of_messages_are_not_written(written, as_json):
    log = written(as_json=as_json)
    logging.getLogger("azure").warning("connect to postgresql://geoetl:topsecret@host/db with AccountKey=k3y==")
    said = log()
    assert "topsecret" not in said
    assert "k3y" not in said
    assert "geoetl:***@host" in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.blob.core.windows.net/c/b.tif?sv=1&sig=a%2Fb&se=2", "https://a.blob.core.windows.net/c/b.tif?sv=1&sig=***&se=2"),
        ("Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=abc+/=;", "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=***;"),
        ("postgresql://user:p;w@host/db", "postgresql://user:***@host/db"),
        ("host=h password='to p' user=u", "host=h password=*** user=u"),
        ("connect(host='h', password='secret')", "connect(host='h', password=***)"),
        ("{'user': 'u', 'password': 'secret'}", "{'user': 'u', 'password': ***}"),
        ('{"client_secret": "x", "a": 1}', '{"client_secret": ***, "a": 1}'),
        ("Authorization: Bearer eyJ0.eyJ1.sig", "Authorization: Bearer ***"),
        ("the password is asked for: see sig/design.md, x=1", "the password is asked for: see sig/design.md, x=1"),
    ],
)  # fmt: skip
def test_secrets_are_replaced_and_nothing_else(text, shown):
    assert redact(text) == shown
    assert redact(shown) == shown
