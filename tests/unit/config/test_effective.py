"""What is in effect, where it came from, and the pages made of the models."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from geoetl.config.database import DatabaseTarget
from geoetl.config.effective import EffectiveValue, effective_values
from geoetl.config.fields import walk
from geoetl.config.reference import reference_page, template
from geoetl.config.settings import Settings, SettingsInvalid

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


def values(environ: dict[str, str], cwd: Path) -> dict[str, EffectiveValue]:
    return {each.variable: each for each in effective_values(environ, cwd)}


def test_each_value_says_where_it_came_from(tmp_path: Path):
    (tmp_path / ".env").write_text("GEOETL_WORKER__CONCURRENCY=3\n")
    found = values(COMPLETE, tmp_path)
    assert found["GEOETL_DATABASE__APP__USER"].origin == "the environment"
    assert found["GEOETL_WORKER__CONCURRENCY"] == EffectiveValue(
        "GEOETL_WORKER__CONCURRENCY", "3", str(tmp_path / ".env")
    )
    assert found["GEOETL_WORKER__REAP_S"].origin == "the default"
    assert found["GEOETL_DATABASE__BUSINESS__PASSWORD"].origin == "not set"


def test_no_secret_is_shown(tmp_path: Path):
    found = values({**COMPLETE, "AZURE_CLIENT_SECRET": "entra-secret"}, tmp_path)
    assert "-secret" not in "".join(each.value for each in found.values())
    assert found["GEOETL_DATABASE__APP__PASSWORD"].value == "***"
    assert found["AZURE_CLIENT_SECRET"].value == "***"


def test_the_azure_identity_in_use_is_shown(tmp_path: Path):
    found = values({**COMPLETE, "AZURE_CLIENT_ID": "11111111-2222"}, tmp_path)
    assert found["AZURE_CLIENT_ID"] == EffectiveValue("AZURE_CLIENT_ID", "11111111-2222", "the environment")


def test_a_section_that_was_left_out_is_not_shown(tmp_path: Path):
    assert not [name for name in values(COMPLETE, tmp_path) if "BUSINESS_OWNER" in name]


def test_wrong_settings_are_refused_with_every_problem(tmp_path: Path):
    with pytest.raises(SettingsInvalid, match=r"2 problem\(s\)"):
        effective_values({**COMPLETE, "GEOETL_WORKER__REAP_S": "x", "GEOETL_WORKR": "1"}, tmp_path)


def test_the_reference_page_is_the_one_the_models_make():
    page = Path(__file__).parents[3] / "docs/reference/settings.md"
    assert page.read_text() == reference_page(), "run `geoetl config reference > docs/reference/settings.md`"


def test_the_template_names_every_setting_and_leaves_only_required_ones_open(tmp_path: Path):
    text = template()
    for field in walk(Settings):
        assert f"{field.variable}=" in text
    file = tmp_path / "filled.env"
    file.write_text(text)
    assert {name for name in dotenv_values(file) if "DATABASE" in name} == {
        f"GEOETL_DATABASE__{name}__{part}" for name in ("APP", "BUSINESS") for part in ("HOST", "DBNAME", "USER")
    }


def test_every_setting_has_a_meaning():
    assert [field.variable for field in walk(Settings) if not field.info.description] == []


def test_a_password_with_an_identity_is_refused():
    with pytest.raises(ValueError, match="leave password out"):
        DatabaseTarget.model_validate(
            {"host": "h", "dbname": "d", "user": "u", "auth": "identity", "password": "secret"}
        )
