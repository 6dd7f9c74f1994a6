"""The way to a namespace: its own address or another, directly or through a proxy, by TCP or WebSocket. No I/O."""

from typing import Any
from urllib.parse import unquote, urlsplit

from azure.servicebus import TransportType

from geoetl.transport.options import Options
from geoetl.transport.urls import Address

HTTPS_PORT = 443


def client_arguments(options: Options) -> dict[str, Any]:
    """The way in the words of the SDK's client."""
    arguments: dict[str, Any] = {
        # Always said: with another address the SDK would take WebSocket for granted.
        "transport_type": TransportType.AmqpOverWebsocket if options.is_websocket else TransportType.Amqp
    }
    if options.endpoint_address is not None:
        arguments["custom_endpoint_address"] = options.endpoint_address
    if options.http_proxy is not None:
        proxy = urlsplit(options.http_proxy)
        arguments["http_proxy"] = {
            "proxy_hostname": proxy.hostname,
            "proxy_port": proxy.port,
            "username": unquote(proxy.username or "") or None,
            "password": unquote(proxy.password or "") or None,
        }
    return arguments


def first_hop(address: Address, options: Options) -> tuple[str, int]:
    """Host and port that a connection begins at."""
    host, port = address.host_and_port
    if options.is_websocket:
        port = HTTPS_PORT
    if options.http_proxy is not None:
        proxy = urlsplit(options.http_proxy)
        return proxy.hostname or host, proxy.port or port
    if options.endpoint_address is not None:
        other = options.endpoint_address
        parts = urlsplit(other if "//" in other else f"sb://{other}")
        return parts.hostname or host, parts.port or port
    return host, port
