"""From a broker URL or connection string to where and who: no I/O, nothing of the SDK."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, unquote

from geoetl.transport.errors import InvalidBrokerUrlError

_DOMAIN = ".servicebus.windows.net"
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})

EMULATOR_PORT = 5672
AMQPS_PORT = 5671

ACCEPTED_FORMS = (
    "servicebus://POLICY:KEY@NAMESPACE, servicebus://DefaultAzureCredential@NAMESPACE, "
    "servicebus://ManagedIdentityCredential@NAMESPACE?client_id=ID, servicebus://WorkloadIdentityCredential@NAMESPACE, "
    "servicebus://POLICY:KEY@localhost:5672 (an emulator), or servicebus:// followed by a connection string "
    "(Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...)"
)


class Identity(StrEnum):
    """Credentials of azure-identity that a URL may name (in any case, as in kombu)."""

    DEFAULT = "DefaultAzureCredential"
    MANAGED = "ManagedIdentityCredential"
    WORKLOAD = "WorkloadIdentityCredential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A namespace and how to authenticate there."""

    host: str
    """Host name of the namespace; with `:port` for an emulator only (the SDK drops it otherwise)."""

    is_emulator: bool = False
    """Plain AMQP and plain HTTP instead of TLS."""

    policy: str | None = None
    key: str | None = field(default=None, repr=False)
    signature: str | None = field(default=None, repr=False)
    """A ready-made `SharedAccessSignature sr=...`; it cannot be renewed when it expires."""

    identity: Identity | None = None
    client_id: str | None = None
    """Client id of a user-assigned identity."""

    credential: Any = field(default=None, repr=False, hash=False, compare=False)
    """A credential object from the options."""

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where AMQP is spoken."""
        name, _, port = self.host.rpartition(":")
        if self.is_emulator:
            return (name, int(port)) if port.isdigit() and name else (self.host, EMULATOR_PORT)
        return self.host, AMQPS_PORT

    def as_uri(self, *, mask: str | None = "**", scheme: str = "servicebus") -> str:
        """The address as a URL; secrets are replaced by `mask` unless that is None."""
        if self.identity is not None:
            who = self.identity.value
        elif self.policy is not None:
            who = f"{self.policy}:{mask if mask is not None else self.key}"
        elif self.signature is not None:
            who = f"SharedAccessSignature:{mask if mask is not None else self.signature}"
        else:
            who = type(self.credential).__name__
        port_tells = self.host.rpartition(":")[0] in _LOCAL_HOSTS
        return f"{scheme}://{who}@{self.host}" + ("" if port_tells or not self.is_emulator else "?emulator=true")

    def connection_string(self, *, endpoint: str | None = None) -> str:
        """A connection string of the SDK; for addresses with a key or signature only."""
        secret = (
            f"SharedAccessSignature={self.signature}"
            if self.signature
            else f"SharedAccessKeyName={self.policy};SharedAccessKey={self.key}"
        )
        emulator = ";UseDevelopmentEmulator=true" if self.is_emulator else ""
        return f"Endpoint=sb://{endpoint or self.host};{secret}{emulator}"


def parse_address(url: str) -> Address:
    """The address that a broker URL names, with or without its scheme.

    A key may contain any character, `/` and `+` too: it is taken as it stands, not percent-decoded (as in kombu).

    Raises:
        InvalidBrokerUrlError: the URL has none of the accepted forms.
    """
    rest = url.partition("://")[2] if not _is_connection_string(url) else url
    if _is_connection_string(rest):
        return parse_connection_string(rest)
    who, found, where = rest.rpartition("@")
    host, _, query = where.partition("?")
    host = host.rstrip("/")
    if not (found and who and host):
        raise InvalidBrokerUrlError(
            f"Broker URL '{_without_secret(rest)}' names no credential or no namespace. Accepted: {ACCEPTED_FORMS}."
        )
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    _refuse_unknown(options)
    host, is_emulator = _host(host, emulator=options.get("emulator"))
    for identity in Identity:
        if who.lower() == identity.value.lower():
            return Address(host=host, is_emulator=is_emulator, identity=identity, client_id=options.get("client_id"))
    policy, found, key = who.partition(":")
    if not (found and policy and key):
        raise InvalidBrokerUrlError(
            f"Broker URL for '{host}' has neither POLICY:KEY nor a known credential before the '@'. "
            f"Accepted: {ACCEPTED_FORMS}."
        )
    return Address(host=host, is_emulator=is_emulator, policy=unquote(policy), key=key)


def parse_connection_string(text: str) -> Address:
    """The address in a connection string as the Azure portal shows it; names in any case.

    Raises:
        InvalidBrokerUrlError: a part is missing, or the string is for one entity only.
    """
    pairs = [part.partition("=") for part in text.strip().strip(";").split(";") if part]
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    endpoint = values.get("endpoint", "").rpartition("://")[2].strip("/")
    policy, key = values.get("sharedaccesskeyname"), values.get("sharedaccesskey")
    signature = values.get("sharedaccesssignature")
    found = f"it has {', '.join(sorted(values)) or 'nothing'}"
    if not endpoint:
        raise InvalidBrokerUrlError(f"The connection string has no Endpoint=sb://HOST ({found}).")
    if values.get("entitypath"):
        raise InvalidBrokerUrlError(
            f"The connection string is for the entity '{values['entitypath']}' only; Celery needs one for the "
            "namespace (without EntityPath)."
        )
    if not (signature or (policy and key)):
        raise InvalidBrokerUrlError(
            "The connection string needs SharedAccessKeyName and SharedAccessKey, or SharedAccessSignature "
            f"({found}; kombu cuts `broker_url` at ';' unless it reaches this transport whole: with an URL from "
            "elsewhere use the option `connection_string`)."
        )
    host, is_emulator = _host(endpoint, emulator=values.get("usedevelopmentemulator"))
    return Address(host=host, is_emulator=is_emulator, policy=policy, key=key, signature=signature)


def _host(host: str, *, emulator: str | None) -> tuple[str, bool]:
    """Complete a bare namespace name, and tell whether this is an emulator."""
    name = host.rpartition(":")[0] or host if host.rpartition(":")[2].isdigit() else host
    is_emulator = (emulator.lower() == "true") if emulator is not None else name.lower() in _LOCAL_HOSTS
    if is_emulator:
        return host, True
    return (name if "." in name else name + _DOMAIN), False


def _is_connection_string(text: str) -> bool:
    return text.lower().startswith("endpoint=")


def _refuse_unknown(options: dict[str, str]) -> None:
    if unknown := set(options) - {"client_id", "emulator"}:
        raise InvalidBrokerUrlError(
            f"Unknown parameter {', '.join(sorted(unknown))} in the broker URL; known are client_id and emulator. "
            "Everything else goes into `broker_transport_options`."
        )


def _without_secret(text: str) -> str:
    who, found, where = text.rpartition("@")
    return f"{who.partition(':')[0]}:**@{where}" if found else (text if ":" not in text else "**")
