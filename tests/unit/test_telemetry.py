"""What processes log: attempts are named, secrets are not."""

import json
import logging
import time

import pytest
import structlog
from pydantic import BaseModel

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
        ("PGPASSWORD=a,b psql", "PGPASSWORD=*** psql"),
        ("GEOETL_DATABASE__APP__PASSWORD=x", "GEOETL_DATABASE__APP__PASSWORD=***"),
        ("FLOWER_BASIC_AUTH=user:pass FLOWER_OAUTH2_SECRET=x", "FLOWER_BASIC_AUTH=*** FLOWER_OAUTH2_SECRET=***"),
        ("password = 'x' user = 'u'", "password = *** user = 'u'"),
        ("connect(password=x, host=h)", "connect(password=***, host=h)"),
        ("password='' user='u'", "password=*** user='u'"),
        (r"password='it\'s' user=u", "password=*** user=u"),
        ("{'password': b'x'}", "{'password': ***}"),
        (r'{\"password\": \"x\"}', r'{\"password\": ***}'),
        ("cut off: password='abc d\nit's over", "cut off: password=***\nit's over"),
        ("Driver=x;Uid=u;Pwd=p;", "Driver=x;Uid=u;Pwd=***;"),
        ("?access_token=abc&b=c", "?access_token=***&b=c"),
        ("Authorization: Basic dTpw", "Authorization: Basic ***"),
        ("{'Authorization': 'Basic dTpw', 'a': 1}", "{'Authorization': 'Basic ***', 'a': 1}"),
        ("servicebus://Root:ab/cd+ef=@ns.servicebus.windows.net", "servicebus://Root:***@ns.servicebus.windows.net"),
        (f"servicebus://Root:1/{41 * 'x'}=@ns", "servicebus://Root:***@ns"),
        ("postgresql://u:p/w@h/db", "postgresql://u:***@h/db"),
        ("http://u:p@ss@proxy:3128/", "http://u:***@proxy:3128/"),
        ("redis://:p@h", "redis://:***@h"),
        ("http://u:p@host/path?mail=a@b", "http://u:***@host/path?mail=a@b"),
    ],
)  # fmt: skip
def test_secrets_are_replaced_and_nothing_else(text, shown):
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the password is asked for: see sig/design.md, x=1",
        "password of role geoetl_app: none",
        "update task set token_run = 5, secret_id = 'x' where key = 'a'; select rolpassword is null from pg_authid",
        "lock_token=8c1f token_run=5 key=a signature=none",
        "SharedAccessKeyName=RootManageSharedAccessKey",
        "http://127.0.0.1:10000/devstoreaccount1/bronze/a@2x.tif and b@c",
        "http://[::1]:8080/x@y",
        "https://host/a:b@c",
        "connect to amqp://127.0.0.1:5672, then mail a@b",
        "Basic tier, basic authentication: off",
        "2026-01-01T00:00:00Z part recorded: remaining=3",
    ],
)
def test_lines_without_secrets_stay(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    "part",
    ["://", "://a:", "://a:1/", "password", "password ", "password='", "password=\\'", "password=)", 'secret"', "\\"],
)
def test_a_line_of_any_length_takes_no_longer_than_it_is(part):
    redacted_in = []
    for size in (20_000, 200_000):
        text = f"password://a:{part * (size // len(part))}"[:size] + "@"
        started = time.process_time()
        redact(text)
        redacted_in.append(time.process_time() - started)
    assert redacted_in[1] < max(40 * redacted_in[0], 0.5)


class Connection(BaseModel):
    dsn: str


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "field",
    [
        {"problem": ConnectionError("password=topsecret")},
        {"given": {"password": "topsecret", "n": 1}},
        {"given": ["postgresql://u:topsecret@h"]},
        {"given": ({"a": {"client_secret": "topsecret"}},)},
        {"given": Connection(dsn="host=h password=topsecret")},
        {"password": "topsecret"},
    ],
)
def test_secrets_of_fields_are_not_written(written, as_json, field):
    log = written(as_json=as_json)
    structlog.get_logger("geoetl.test").info("no luck", **field, remaining={"parts": 3})
    said = log()
    assert "topsecret" not in said
    assert "***" in said
    if as_json:
        assert json.loads(said)["remaining"] == {"parts": 3}
