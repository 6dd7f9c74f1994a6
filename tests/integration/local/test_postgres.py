import os
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from geoetl.db.connections import connect
from geoetl.errors import SystemFault
from geoetl.local.postgres import SUPERUSER, Launcher, PostgresCluster
from geoetl.local.processes import Process
from tests.stack import require


@pytest.fixture
def folder() -> Generator[Path]:
    # Not tmp_path: pytest's folders are closed to other accounts.
    with tempfile.TemporaryDirectory(prefix="geoetl-tests-") as name:
        yield Path(name)


def new_cluster(folder: Path, launcher: Launcher | None = None) -> PostgresCluster:
    return PostgresCluster(
        folder=folder / "postgres",
        log=folder / "postgres.log",
        record=folder / "postgres.json",
        is_ephemeral=True,
        launcher=launcher,
    )


@pytest.fixture
def cluster(folder: Path) -> Generator[PostgresCluster]:
    cluster = new_cluster(folder)
    try:
        require(cluster.start)
        yield cluster
    finally:
        cluster.stop()


def server(folder: Path) -> Process:
    process = Process.read(folder / "postgres.json")
    assert process is not None
    return process


def test_a_server_is_found_again_when_its_record_was_lost(cluster: PostgresCluster, folder: Path):
    before = server(folder)
    (folder / "postgres.json").unlink()
    again = new_cluster(folder)
    assert again.health().state == "healthy"
    again.start()
    assert server(folder) == before


def test_a_killed_server_comes_back_with_its_data(cluster: PostgresCluster, folder: Path):
    with connect(cluster.target(), application_name="tests") as connection:
        connection.execute("CREATE TABLE kept (id int)")
    before = server(folder)
    os.kill(before.pid, signal.SIGKILL)
    assert before.wait(timeout_s=10)
    assert cluster.health().state == "stopped"
    cluster.start()
    with connect(cluster.target(), application_name="tests") as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_lock_file_that_names_a_strangers_process_does_not_stop_the_start(cluster: PostgresCluster, folder: Path):
    cluster.stop()
    # After a power cut the number of the old server may belong to anybody: here, to this process.
    (folder / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    cluster.start()
    assert cluster.health().state == "healthy"


def test_an_interrupted_initialisation_is_made_anew(folder: Path):
    (folder / "postgres" / "data.new" / "base").mkdir(parents=True)
    cluster = new_cluster(folder)
    require(cluster.start)
    try:
        assert cluster.health().state == "healthy"
    finally:
        cluster.stop()


def test_stopping_leaves_no_socket_folder_and_stopping_again_is_no_error(cluster: PostgresCluster):
    assert cluster.socket_dir.exists()
    cluster.stop()
    assert not cluster.socket_dir.exists()
    cluster.stop()
    assert cluster.health().state == "stopped"


def test_a_socket_folder_of_somebody_else_is_not_used(folder: Path):
    cluster = new_cluster(folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    cluster.socket_dir.symlink_to(elsewhere)
    try:
        with pytest.raises(SystemFault, match="exists and is not ours"):
            cluster.start()
    finally:
        cluster.socket_dir.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run PostgreSQL as another user")
def test_root_without_user_namespaces_runs_it_as_the_account_postgres(folder: Path):
    account = Launcher(
        prefix=("setpriv", f"--reuid={SUPERUSER}", f"--regid={SUPERUSER}", "--init-groups", "--"), owner=SUPERUSER
    )
    if not account.works():
        pytest.skip("there is no account postgres")
    # The folder is closed to the account, as a home of root is: the data goes to the account's own home.
    cluster = new_cluster(folder, account)
    try:
        cluster.start()
        assert cluster.health().state == "healthy"
        owner = Path(f"/proc/{server(folder).pid}").stat().st_uid
        assert owner != 0
        cluster.stop()
        cluster.start()
        assert cluster.health().state == "healthy"
    finally:
        cluster.stop()
        cluster.remove()
