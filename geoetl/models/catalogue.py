"""Collections as users describe them."""

from pydantic import Field

from geoetl.models.base import Model

#: A conservative subset of what STAC allows ("unique within the provider"): safe in a URL, a path and a blob name.
#: pgSTAC adds no limit of its own.
ID_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"


class CollectionDefinition(Model):
    """What is needed to create a collection; its extent comes from its items."""

    id: str = Field(pattern=ID_PATTERN)
    """Letters, digits, dots, hyphens and underscores; at most 128."""
    description: str = Field(min_length=1)
    """What a reader of the catalogue should know (CommonMark)."""
    title: str = ""
    license: str = "other"
    """An SPDX licence expression, or ``other`` (STAC 1.1, Collection, ``license``)."""
    keywords: tuple[str, ...] = ()
