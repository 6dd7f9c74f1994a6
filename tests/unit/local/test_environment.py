import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values

from geoetl.config import DatabaseTarget
from geoetl.local.environment import database_variables, write_environment


def test_what_is_written_is_read_back(tmp_path: Path):
    values = {"A": "DefaultEndpointsProtocol=http;AccountKey=a+/b==;", "B": "/a folder/$HOME", "C": "back\\slash"}
    write_environment(tmp_path / "geoetl.env", values)
    assert dotenv_values(tmp_path / "geoetl.env", interpolate=False) == values


def test_only_the_owner_may_read_it(tmp_path: Path):
    write_environment(tmp_path / "geoetl.env", {"A": "key"})
    assert stat.S_IMODE((tmp_path / "geoetl.env").stat().st_mode) == 0o600


def test_it_is_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "geoetl.env"
    write_environment(path, {"OLD": "1"})
    write_environment(path, {"NEW": "1"})
    assert dotenv_values(path) == {"NEW": "1"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_would_end_the_quotes_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="single quote"):
        write_environment(tmp_path / "geoetl.env", {"A": "x'y"})
    assert not (tmp_path / "geoetl.env").exists()


def test_a_database_becomes_the_variables_of_its_setting():
    target = DatabaseTarget(host="/socket", dbname="d", user="u")
    assert database_variables("app", target) == {
        "GEOETL_DATABASE__APP__HOST": "/socket",
        "GEOETL_DATABASE__APP__PORT": "5432",
        "GEOETL_DATABASE__APP__DBNAME": "d",
        "GEOETL_DATABASE__APP__USER": "u",
    }
