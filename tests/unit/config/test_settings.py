from pathlib import Path

import pytest

from geoetl.config import SettingsInvalid, load_settings

COMPLETE = {
    "GEOETL_DATABASE__APP__HOST": "db.example",
    "GEOETL_DATABASE__APP__DBNAME": "app",
    "GEOETL_DATABASE__APP__USER": "app_user",
    "GEOETL_DATABASE__APP__PASSWORD": "app-secret",
    "GEOETL_DATABASE__BUSINESS__HOST": "db.example",
    "GEOETL_DATABASE__BUSINESS__DBNAME": "business",
    "GEOETL_DATABASE__BUSINESS__USER": "worker",
    "GEOETL_STORAGE__BRONZE__CONNECTION_STRING": "AccountName=a;AccountKey=blob-secret",
    "GEOETL_STORAGE__SILVER__ACCOUNT_URL": "https://silver.example",
    "GEOETL_BROKER__CONNECTION_STRING": "Endpoint=sb://bus.example;SharedAccessKey=bus-secret",
}


def refused(environ: dict[str, str], cwd: Path) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(environ, cwd)
    return str(caught.value)


def test_a_complete_environment_is_enough(tmp_path: Path):
    settings = load_settings(COMPLETE, tmp_path)
    assert settings.database.app.user == "app_user"
    assert settings.database.app.port == 5432
    assert settings.storage.silver.container == "silver"
    assert settings.broker.gdal.name == "gdal"
    assert settings.home == tmp_path / ".geoetl"


def test_nothing_configured_says_what_to_run(tmp_path: Path):
    assert "geoetl local up" in refused({}, tmp_path)


def test_the_file_of_the_embedded_stack_is_found_by_itself(tmp_path: Path):
    home = tmp_path / ".geoetl"
    home.mkdir()
    (home / "geoetl.env").write_text("".join(f"{name}='{value}'\n" for name, value in COMPLETE.items()))
    assert load_settings({}, tmp_path).database.business.user == "worker"


def test_the_environment_wins_over_dotenv_and_that_over_the_stack(tmp_path: Path):
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "geoetl.env").write_text(
        "GEOETL_WORKER__CONCURRENCY=3\nGEOETL_WORKER__REAP_S=3\nGEOETL_LIMITS__MAX_SOURCES=3\n"
    )
    (tmp_path / ".env").write_text(
        f"GEOETL_HOME={home}\nGEOETL_WORKER__CONCURRENCY=2\nGEOETL_WORKER__REAP_S=2\nOTHER_PROGRAM=1\n"
    )
    settings = load_settings({**COMPLETE, "GEOETL_WORKER__CONCURRENCY": "1"}, tmp_path)
    assert (settings.worker.concurrency, settings.worker.reap_s, settings.limits.max_sources) == (1, 2, 3)


def test_an_empty_value_counts_as_not_given(tmp_path: Path):
    assert load_settings({**COMPLETE, "GEOETL_WORKER__CONCURRENCY": ""}, tmp_path).worker.concurrency == 2


def test_a_dollar_in_a_file_is_a_dollar(tmp_path: Path):
    (tmp_path / ".env").write_text("GEOETL_DATABASE__APP__PASSWORD='a${HOME}$b'\n")
    environ = {name: value for name, value in COMPLETE.items() if not name.endswith("PASSWORD")}
    password = load_settings(environ, tmp_path).database.app.password
    assert password is not None
    assert password.get_secret_value() == "a${HOME}$b"


def test_every_problem_is_listed_at_once_with_its_variable_and_origin(tmp_path: Path):
    (tmp_path / ".env").write_text("GEOETL_DATABASE__APP__PORT=many\n")
    message = refused(
        {
            **COMPLETE,
            "GEOETL_DATABSE__APP__HOST": "typo",
            "GEOETL_DATABASE__APP__HOTS": "typo",
            "GEOETL_WORKER": "{}",
            "GEOETL_BROKER__STANDARD__LOCK_DURATION_S": "301",
        },
        tmp_path,
    )
    assert message.startswith("5 problem(s)")
    assert f"GEOETL_DATABASE__APP__PORT is 'many' (from {tmp_path / '.env'})" in message
    assert "GEOETL_DATABSE__APP__HOST (from the environment) is not a setting" in message
    assert "GEOETL_DATABASE__APP__HOTS is not a setting: known here: host, port" in message
    assert "GEOETL_WORKER (from the environment) is a group of settings" in message
    assert "less than or equal to 300" in message


def test_a_missing_part_is_named(tmp_path: Path):
    environ = {name: value for name, value in COMPLETE.items() if name != "GEOETL_DATABASE__APP__DBNAME"}
    assert "GEOETL_DATABASE__APP__DBNAME is not set" in refused(environ, tmp_path)


def test_the_same_database_for_both_is_refused(tmp_path: Path):
    message = refused({**COMPLETE, "GEOETL_DATABASE__BUSINESS__DBNAME": "app"}, tmp_path)
    assert "they must be two databases" in message


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("GEOETL_STORAGE__SILVER__CONNECTION_STRING", "AccountName=a", "exactly one of"),
        ("GEOETL_STORAGE__BRONZE__CONNECTION_STRING", "top-secret", "neither BlobEndpoint= nor AccountName="),
        ("GEOETL_STORAGE__BRONZE__CONTAINER", "Not_Valid", "should match pattern"),
        ("GEOETL_STORAGE__SILVER__ACCOUNT_URL", "https://a.example/?sig=x", "should match pattern"),
        ("GEOETL_BROKER__CONNECTION_STRING", "top-secret", "no Endpoint=sb://"),
        ("GEOETL_BROKER__GDAL__NAME", "standard", "must be two queues"),
        ("GEOETL_WORKER__LEASE_S", "10", "at least three times heartbeat_s"),
        ("GEOETL_LIMITS__MIN_SOURCE_BYTES", "999999999999999", "larger than max_source_bytes"),
    ],
)
def test_a_wrong_value_is_refused_with_its_reason(name: str, value: str, reason: str, tmp_path: Path):
    message = refused({**COMPLETE, name: value}, tmp_path)
    assert message.startswith("1 problem(s)")
    assert reason in message


def test_secrets_are_never_shown(tmp_path: Path):
    broken = {
        **COMPLETE,
        "GEOETL_BROKER__CONNECTION_STRING": "bus-secret",
        "GEOETL_DATABASE__APP__PASSWRD": "app-secret",
        "GEOETL_STORAGE__BRONZE__CONNECTION_STRING": "blob-secret",
    }
    shown = refused(broken, tmp_path) + repr(load_settings(COMPLETE, tmp_path))
    assert not [word for word in ("app-secret", "bus-secret", "blob-secret") if word in shown]
