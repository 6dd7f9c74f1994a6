"""The SDK's client objects for an address: the public half of the SDK, built in one place."""

import socket
from typing import Any

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.pipeline.transport import HttpRequest, HttpResponse, RequestsTransport
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential
from azure.servicebus import (
    ServiceBusClient,
    ServiceBusReceiveMode,
    ServiceBusReceiver,
    ServiceBusSender,
    ServiceBusSubQueue,
)
from azure.servicebus.management import ServiceBusAdministrationClient

from geoetl.transport import sdk
from geoetl.transport.credentials import PrefetchingCredential
from geoetl.transport.options import Options
from geoetl.transport.route import client_arguments, first_hop
from geoetl.transport.urls import Address, Identity

#: Bound of one request by lock token, a renewal or a settlement, so that a silent service does not hold up the others
#: for a minute.
REQUEST_TIMEOUT_S = 20.0


class Clients:
    """Makes receivers, senders and administration clients. Opens nothing by itself."""

    def __init__(self, address: Address, options: Options) -> None:
        self._address = address
        self._admin_endpoint = options.admin_endpoint
        self._first_hop = first_hop(address, options)
        self._route = client_arguments(options)
        self._proxies = {"https": options.http_proxy} if options.http_proxy is not None else None
        self._credential = _prefetching(address.credential or _identity(address))
        # Links reopen themselves with backoff and jitter, so the SDK's own retries (which sleep) would only delay that.
        self._linking = self._client(retry_total=0)
        # Requests by lock token keep one quick retry: their connection is idle most of the time.
        self._controlling = self._client(retry_total=1, retry_backoff_factor=0.05, try_timeout=REQUEST_TIMEOUT_S)

    def _client(self, **retries: Any) -> ServiceBusClient:
        arguments = {**self._route, **retries}
        if self._credential is None:
            return ServiceBusClient.from_connection_string(self._address.connection_string(), **arguments)
        if self._address.is_emulator:
            arguments["use_tls"] = False
        return ServiceBusClient(self._address.host, self._credential, **arguments)

    def check_reachable(self, *, timeout_s: float) -> None:
        """Connect to the namespace, and no more: the SDK itself may wait long for one that is away.

        Raises:
            ConnectionError: no connection; the name may be wrong, or the port closed.
        """
        host, port = self._first_hop
        try:
            socket.create_connection((host, port), timeout_s).close()
        except OSError as error:
            raise ConnectionError(f"Cannot reach Service Bus at {host}, port {port}: {error}") from error

    def prefetch_tokens(self) -> None:
        """Have fresh tokens ready for the reactor; may block."""
        if isinstance(self._credential, PrefetchingCredential):
            self._credential.prefetch()

    def receiver(self, entity: str) -> ServiceBusReceiver:
        """A receiver to be opened by `sdk.ReceivingLink`.

        `prefetch_count=1` and `keep_alive=0` keep the SDK from starting a thread that reads the same socket and
        releases what it finds; credit is only ever issued by us.
        """
        return self._linking.get_queue_receiver(
            entity, prefetch_count=1, keep_alive=0, socket_timeout=sdk.SOCKET_TIMEOUT_S
        )

    def control_receiver(self, entity: str) -> ServiceBusReceiver:
        return self._controlling.get_queue_receiver(
            entity, prefetch_count=1, keep_alive=0, socket_timeout=sdk.SOCKET_TIMEOUT_S
        )

    def sender(self, entity: str) -> ServiceBusSender:
        return self._linking.get_queue_sender(entity, keep_alive=0)

    def puller(
        self, entity: str, *, receive_and_delete: bool = False, dead_letters: bool = False
    ) -> ServiceBusReceiver:
        """An ordinary receiver of the public API, for the rare synchronous operations (basic_get, purge, operators)."""
        mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE if receive_and_delete else ServiceBusReceiveMode.PEEK_LOCK
        sub_queue = ServiceBusSubQueue.DEAD_LETTER if dead_letters else None
        return self._controlling.get_queue_receiver(entity, receive_mode=mode, sub_queue=sub_queue)

    def admin(self) -> ServiceBusAdministrationClient:
        """A short-lived administration client.

        Short-lived on purpose: a closed one cannot be reopened, and an idle one leaks its socket into forked children.
        """
        endpoint = self._admin_endpoint or self._address.host
        arguments: dict[str, Any] = {"transport": _PlainHttp()} if self._address.is_emulator else {}
        if self._proxies is not None:
            arguments["proxies"] = self._proxies
        if self._credential is None:
            text = self._address.connection_string(endpoint=endpoint)
            return ServiceBusAdministrationClient.from_connection_string(text, **arguments)
        return ServiceBusAdministrationClient(endpoint, self._credential, **arguments)


class _PlainHttp(RequestsTransport):
    """The administration client hard-codes https; emulators speak http."""

    def send(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:  # pyright: ignore[reportIncompatibleMethodOverride] - the base declares overloads for a second request type that this client never uses
        if request.url.startswith("https://"):
            request.url = "http://" + request.url.removeprefix("https://")
        return super().send(request, **kwargs)


def _prefetching(credential: Any) -> Any:
    """Keys and signatures make their tokens without I/O; everything else is wrapped."""
    local = AzureNamedKeyCredential | AzureSasCredential | None
    return credential if isinstance(credential, local) else PrefetchingCredential(credential)


def _identity(address: Address) -> Any:
    match address.identity:
        case None:
            return None
        case Identity.DEFAULT:
            # None would hide AZURE_CLIENT_ID from it, which names the user-assigned identity.
            named = {"managed_identity_client_id": address.client_id} if address.client_id else {}
            return DefaultAzureCredential(**named)
        case Identity.MANAGED:
            return ManagedIdentityCredential(client_id=address.client_id)
        case Identity.WORKLOAD:
            return WorkloadIdentityCredential(client_id=address.client_id)
