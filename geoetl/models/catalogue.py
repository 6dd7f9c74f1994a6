"""Collections as users describe them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from geoetl.models.base import Model

#: A conservative subset of what STAC allows ("unique within the provider"): safe in a URL, a path and a blob name.
#: pgSTAC adds no limit of its own.
ID_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"

#: The pattern in words, for messages.
ID_RULE = "1 to 128 letters, digits, dots, hyphens and underscores, beginning and ending with a letter or digit"

_ID = re.compile(ID_PATTERN)


def is_id(value: str) -> bool:
    """Whether ``ID_RULE`` allows it."""
    return _ID.fullmatch(value) is not None


def _checked_id(value: str) -> str:
    if not is_id(value):
        raise ValueError(f"use {ID_RULE}")
    return value


#: Id of a collection or an item.
type StacId = Annotated[str, AfterValidator(_checked_id)]


class CollectionDefinition(Model):
    """What is needed to create a collection; its extent comes from its items."""

    id: StacId
    """See ``ID_RULE``."""
    description: str = Field(min_length=1)
    """What a reader of the catalogue should know (CommonMark)."""
    title: str = ""
    license: str = "other"
    """An SPDX licence expression, or ``other`` (STAC 1.1, Collection, ``license``)."""
    keywords: tuple[str, ...] = ()
