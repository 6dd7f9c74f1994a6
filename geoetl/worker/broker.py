"""The namespace of the settings, as the transport and its tools want to know it."""

from typing import Any

from geoetl.config.broker import BrokerSettings
from geoetl.identity import credential
from geoetl.transport.clients import Clients
from geoetl.transport.options import Options
from geoetl.transport.specs import QueueSpec
from geoetl.transport.urls import parse_address, parse_connection_string


def broker_url(broker: BrokerSettings) -> str:
    """Without keys: a connection string goes to the transport's options, where no log prints it."""
    return f"servicebus://DefaultAzureCredential@{broker.namespace}" if broker.namespace else "servicebus://"


def transport_options(broker: BrokerSettings) -> dict[str, Any]:
    """Celery's ``broker_transport_options``."""
    options: dict[str, Any] = {
        "queues": {
            queue.name: {"lock_duration_s": queue.lock_duration_s, "max_delivery_count": queue.max_delivery_count}
            for queue in broker.queues
        }
    }
    if broker.connection_string is not None:
        options["connection_string"] = broker.connection_string.get_secret_value()
    else:
        # The one that storage and databases use: one identity, one set of tokens in a process.
        options["credential"] = credential()
    return options


def declared_queues(broker: BrokerSettings) -> tuple[QueueSpec, ...]:
    """The queues that must exist, as they must be."""
    return Options.from_dict(transport_options(broker)).queues


def service_bus(broker: BrokerSettings) -> Clients:
    """Clients of the namespace, for operators; opens nothing yet."""
    options = Options.from_dict(transport_options(broker))
    if options.connection_string:
        return Clients(parse_connection_string(options.connection_string), options)
    return Clients(parse_address(broker_url(broker)), options)
