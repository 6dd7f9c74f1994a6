"""STAC ids as geoetl accepts them."""

from typing import Annotated

from pydantic import Field

#: An id becomes part of URLs, of blob paths and of search requests, so it must mean the same in all of them without
#: quoting: the characters of STAC's best practices and the dot. Not a dot at the end: Azure drops it from a path.
#: https://github.com/radiantearth/stac-spec/blob/master/best-practices.md
STAC_ID_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?$"

#: The pattern in words, for messages.
STAC_ID_RULE = "1 to 128 letters, digits, '.', '_' and '-', beginning with a letter or digit and not ending with a dot"

type StacId = Annotated[str, Field(pattern=STAC_ID_PATTERN)]
