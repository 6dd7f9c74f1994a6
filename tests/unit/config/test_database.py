import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from geoetl.config import DatabaseTarget


def target(**changes: object) -> DatabaseTarget:
    return DatabaseTarget.model_validate({"host": "h", "dbname": "d", "user": "u", **changes})


@pytest.mark.parametrize("password", ["plain", "with space", "quo'te", "back\\slash", "'\\' "])
def test_libpq_reads_back_what_was_given(password: str):
    parts = conninfo_to_dict(target(password=password, user="o'brien").conninfo(application_name="a b"))
    assert parts["password"] == password
    assert parts["user"] == "o'brien"
    assert parts["application_name"] == "a b"


def test_no_password_leaves_libpq_to_its_own_means():
    assert "password" not in conninfo_to_dict(target().conninfo())


def test_printing_a_target_shows_no_password():
    secret = target(password=SecretStr("hidden"))
    assert "hidden" not in f"{secret} {secret!r}"
