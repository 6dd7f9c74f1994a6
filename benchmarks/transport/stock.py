"""kombu's own `azureservicebus` transport, taught to reach an emulator and changed in nothing else.

It completes every host with `.servicebus.windows.net`, drops the emulator's flag, and its administration client speaks
https whatever it is told.
"""

from typing import Any

from azure.core.pipeline.transport import RequestsTransport
from azure.servicebus.management import ServiceBusAdministrationClient
from kombu.transport import TRANSPORT_ALIASES, azureservicebus
from kombu.utils.objects import cached_property

TRANSPORT_ALIASES["stock"] = "benchmarks.transport.stock:Transport"


class PlainHttp(RequestsTransport):
    def send(self, request: Any, **kwargs: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **kwargs)


class Channel(azureservicebus.Channel):
    def _try_parse_connection_string(self) -> None:
        self._namespace, self._credential = Transport.parse_uri(self.conninfo.hostname)
        self._policy, self._sas_key = self._credential.split(":", 1)
        self._connection_string = (
            f"Endpoint=sb://{self._namespace};SharedAccessKeyName={self._policy};"
            f"SharedAccessKey={self._sas_key};UseDevelopmentEmulator=true"
        )

    @cached_property
    def queue_mgmt_service(self) -> ServiceBusAdministrationClient:
        return ServiceBusAdministrationClient.from_connection_string(self._connection_string, transport=PlainHttp())


class Transport(azureservicebus.Transport):
    Channel = Channel

    @staticmethod
    def parse_uri(uri: str) -> tuple[str, Any]:
        credential, _, namespace = uri.rpartition("://")[2].rpartition("@")
        return namespace, credential

    @classmethod
    def as_uri(cls, uri: str, include_password: bool = False, mask: str = "**") -> str:
        namespace, credential = cls.parse_uri(uri)
        return f"stock://{credential.split(':')[0]}:{mask}@{namespace}"
