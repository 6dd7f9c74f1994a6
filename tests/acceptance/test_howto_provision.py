"""Every geoetl command of the how-to is run in its order, on an installation that has nothing yet."""

import re
from collections.abc import Generator

import pytest

from geoetl.db.connections import connect
from tests.acceptance.conftest import ROOT, Installation

PAGE = (ROOT / "docs/howto/provision-on-azure.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("geoetl ")]
SETTINGS = set(re.findall(r"^(GEOETL_[A-Z_]+)=", PAGE, re.MULTILINE))


@pytest.fixture
def nothing_yet(installation: Installation) -> Generator[Installation]:
    """The installation's services with databases, roles and containers of other names, which do not exist."""
    names = {
        "GEOETL_DATABASE__APP__DBNAME": "howto_app",
        "GEOETL_DATABASE__APP__USER": "howto",
        "GEOETL_DATABASE__BUSINESS__DBNAME": "howto_business",
        "GEOETL_DATABASE__BUSINESS__USER": "howto",
        "GEOETL_DATABASE__BUSINESS_OWNER__DBNAME": "howto_business",
        "GEOETL_DATABASE__BUSINESS_OWNER__USER": "howto_owner",
        "GEOETL_STORAGE__BRONZE__CONTAINER": "howto-bronze",
        "GEOETL_STORAGE__SILVER__CONTAINER": "howto-silver",
    }
    yield Installation(installation.home, installation.services, {**installation.environ, **names})
    admin = installation.services.settings.database.admin
    assert admin is not None
    with connect(admin, application_name="tests") as connection:
        for name in ("howto_app", "howto_business"):
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute("DROP ROLE IF EXISTS howto, howto_owner")


def test_the_steps_lead_from_nothing_to_a_healthy_installation(nothing_yet: Installation):
    assert [command.split()[1] for command in COMMANDS] == [
        "config", "config", "config", "db", "db", "db", "db", "storage", "storage", "doctor"
    ]  # fmt: skip
    before = nothing_yet.run_here("doctor")
    assert before.returncode == 1
    for command in COMMANDS:
        done = nothing_yet.run_here(*command.split()[1:])
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def test_the_settings_of_the_page_are_settings():
    reference = (ROOT / "docs/reference/settings.md").read_text()
    assert SETTINGS
    assert [name for name in SETTINGS if f"`{name}`" not in reference] == []
