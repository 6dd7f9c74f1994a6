"""A kombu transport for Azure Service Bus. Stands alone: imports nothing else of geoetl.

Importing this package is all a Celery app needs: it registers the URL scheme ``servicebus://``. The azure SDK is only
loaded when a connection is made.

Example:
    >>> import geoetl.transport
    >>> from kombu import Connection
    >>> Connection("servicebus://RootManageSharedAccessKey:c2VjcmV0@localhost:5672").as_uri()
    'servicebus://RootManageSharedAccessKey:**@localhost:5672'
"""

from kombu.transport import TRANSPORT_ALIASES

#: The URL scheme this package adds to kombu. kombu's own transport keeps its name, `azureservicebus`.
SCHEME = "servicebus"

TRANSPORT_ALIASES[SCHEME] = "geoetl.transport.transport:Transport"

__all__ = ["SCHEME"]
