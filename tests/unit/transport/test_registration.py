import subprocess
import sys

import pytest
from kombu import Connection
from kombu.transport import get_transport_cls

import geoetl.transport  # noqa: F401 - registers servicebus://
from geoetl.transport.errors import InvalidBrokerUrlError

CONNECTION_STRING = (
    "Endpoint=sb://localhost:5672;SharedAccessKeyName=r;SharedAccessKey=SECRET;UseDevelopmentEmulator=true;"
)


def test_scheme_is_known_to_kombu():
    assert get_transport_cls("servicebus").__module__ == "geoetl.transport.transport"


def test_importing_the_package_loads_neither_the_sdk_nor_the_rest_of_geoetl():
    code = (
        "import sys, geoetl.transport; "
        "print([m for m in sys.modules if m.startswith(('azure', 'geoetl.')) and m != 'geoetl.transport'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_connection_string_in_a_url_survives_kombus_cutting_at_semicolons():
    connection = Connection(f"servicebus://{CONNECTION_STRING}")
    assert connection.as_uri() == "servicebus://r:**@localhost:5672"
    assert connection.transport._address.key == "SECRET"
    assert connection.alt == []


def test_clone_of_such_a_connection_has_the_same_address():
    connection = Connection(f"servicebus://{CONNECTION_STRING}")
    clone = connection.clone()
    assert clone.transport._address == connection.transport._address
    assert clone.as_uri(include_password=True) == "servicebus://r:SECRET@localhost:5672"


def test_connection_string_of_the_options_wins_over_the_url():
    options = {"connection_string": CONNECTION_STRING.replace("localhost:5672", "localhost:1")}
    assert Connection("servicebus://a:b@ns", transport_options=options).as_uri() == "servicebus://r:**@localhost:1"


def test_credential_object_of_the_options_wins_over_the_url():
    class Mine:
        """Stands for any credential of azure-identity."""

    connection = Connection("servicebus://DefaultAzureCredential@ns", transport_options={"credential": Mine()})
    assert connection.as_uri() == "servicebus://Mine@ns.servicebus.windows.net"


def test_azure_errors_are_connection_or_channel_errors_of_kombu():
    from azure.servicebus.exceptions import MessagingEntityNotFoundError, ServiceBusConnectionError, ServiceBusError

    transport = get_transport_cls("servicebus")
    assert issubclass(ServiceBusConnectionError, transport.recoverable_connection_errors)
    assert issubclass(MessagingEntityNotFoundError, transport.channel_errors)
    assert not issubclass(MessagingEntityNotFoundError, transport.recoverable_connection_errors)
    assert issubclass(ServiceBusError, transport.channel_errors)


def test_bare_url_can_be_printed_and_is_refused_by_whoever_connects():
    connection = Connection("servicebus://")
    assert connection.as_uri() == "servicebus://"
    with pytest.raises(InvalidBrokerUrlError, match="names no credential or no namespace"):
        connection.connect()
