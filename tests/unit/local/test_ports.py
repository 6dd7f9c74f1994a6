import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geoetl.errors import SystemFault
from geoetl.local.ports import HOST, Ports, PortTaken


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return Ports(tmp_path / "ports.json")


@pytest.fixture
def taken(ports: Ports) -> Generator[int]:
    """The port of ``blobs``, on which somebody else listens."""
    with socket.socket() as other:
        port = ports.of("blobs")
        other.bind((HOST, port))
        other.listen()
        yield port


def test_a_port_is_chosen_once_and_kept(ports: Ports, tmp_path: Path):
    assert ports.of("blobs") == ports.of("blobs") == Ports(tmp_path / "ports.json").of("blobs")


def test_services_get_different_ports(ports: Ports):
    assert len({ports.of(str(number)) for number in range(20)}) == 20


def test_a_port_is_below_the_range_of_outgoing_connections(ports: Ports):
    assert 1024 < ports.of("blobs") < 32768


def test_a_taken_port_that_was_never_used_is_chosen_again(ports: Ports, taken: int):
    assert ports.claim("blobs") != taken


def test_a_taken_port_that_addresses_name_is_an_error(ports: Ports, taken: int):
    ports.confirm("blobs")
    with pytest.raises(PortTaken, match=f"Port {taken} of blobs is taken") as caught:
        ports.claim("blobs")
    assert "reset" in caught.value.hint


def test_a_used_port_that_is_free_again_is_kept(ports: Ports):
    port = ports.claim("blobs")
    ports.confirm("blobs")
    assert ports.claim("blobs") == port


def test_a_broken_file_is_not_taken_for_an_empty_one(tmp_path: Path):
    (tmp_path / "ports.json").write_text("[")
    with pytest.raises(SystemFault, match="not a list of ports"):
        Ports(tmp_path / "ports.json").of("blobs")


def test_services_that_start_at_once_keep_each_others_ports(tmp_path):
    ports = Ports(tmp_path / "ports.json")
    names = [f"service-{n}" for n in range(24)]

    with ThreadPoolExecutor(8) as pool:
        claimed = dict(zip(names, pool.map(ports.claim, names), strict=True))

    assert {name: Ports(tmp_path / "ports.json").of(name) for name in names} == claimed


def test_a_port_that_a_dying_process_still_holds_is_waited_for(tmp_path):
    ports = Ports(tmp_path / "ports.json")
    port = ports.claim("service")
    ports.confirm("service")
    dying = socket.create_server(("127.0.0.1", port))
    threading.Timer(0.3, dying.close).start()

    assert ports.claim("service") == port
