"""The names of entities and the addresses clients call them by."""

import re
from typing import Final

from geoetl.emulator.conditions import ARGUMENT_ERROR, ServiceBusError

SUBSCRIPTIONS: Final = "/Subscriptions/"
DEAD_LETTERS: Final = "/$DeadLetterQueue"
TRANSFER_DEAD_LETTERS: Final = "/$Transfer/$DeadLetterQueue"

_MAX_PATH: Final = 260
#: For subscriptions and rules.
_MAX_NAME: Final = 50
#: Letters, numbers, dots, hyphens and underscores; slashes between segments.
_PATH: Final = re.compile(r"[A-Za-z0-9](?:[\w.\-~/]*[\w])?", re.ASCII)
_NAME: Final = re.compile(r"[\w](?:[\w.\-]*[\w])?", re.ASCII)
_RULE: Final = re.compile(r"[\w.\-$]+", re.ASCII)


def entity_path(address: str) -> str:
    """The path in an address: clients send `queue`, `/queue` and `amqps://host/queue`."""
    _, scheme, rest = address.partition("://")
    path = rest.partition("/")[2] if scheme else address
    return path.strip("/")


def subscription_path(topic: str, name: str) -> str:
    """Where a subscription is received from."""
    return f"{topic}{SUBSCRIPTIONS}{name}"


def check_path(path: str) -> None:
    """Lets the path of a queue or topic pass, or not.

    Raises:
        ServiceBusError: it is too long, has other characters than are accepted, or would be that of a subscription.
    """
    _check_length(path, _MAX_PATH)
    if not _PATH.fullmatch(path) or SUBSCRIPTIONS.lower() in f"/{path}/".lower():
        raise _bad_name(path, "letters, numbers, '.', '-', '_' and '/', with no segment 'subscriptions'", _MAX_PATH)


def check_subscription_name(name: str) -> None:
    """Lets the name of a subscription pass, or not.

    Raises:
        ServiceBusError: it is too long or has other characters than are accepted.
    """
    _check_length(name, _MAX_NAME)
    if not _NAME.fullmatch(name):
        raise _bad_name(name, "letters, numbers, '.', '-' and '_'", _MAX_NAME)


def check_rule_name(name: str) -> None:
    """Lets the name of a rule pass, or not.

    Raises:
        ServiceBusError: it is too long or has other characters than are accepted.
    """
    _check_length(name, _MAX_NAME)
    if not _RULE.fullmatch(name):
        raise _bad_name(name, "letters, numbers, '.', '-', '_' and '$'", _MAX_NAME)


def _check_length(name: str, limit: int) -> None:
    if len(name) > limit:
        raise ServiceBusError(
            ARGUMENT_ERROR, f"SubCode=40000. The entity path/name '{name}' exceeds the '{limit}' character limit."
        )


def _bad_name(name: str, accepted: str, limit: int) -> ServiceBusError:
    return ServiceBusError(
        ARGUMENT_ERROR,
        f"SubCode=40000. '{name}' cannot be the name of an entity: accepted are {accepted}, at most {limit}.",
    )
