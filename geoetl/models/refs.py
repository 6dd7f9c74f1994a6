"""References to blobs: ``bronze://container/path`` and ``silver://container/path``."""

import re
from typing import Any, Literal, NewType, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

JobId = NewType("JobId", str)
RunId = NewType("RunId", str)

type Tier = Literal["bronze", "silver"]

#: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_CONTAINER = re.compile(r"^(?!.*--)[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]$")
_MAX_PATH_CHARS = 1024


class BlobRef(str):
    """A blob's URI, checked when made. It is a ``str``, so it prints, sorts, hashes and serialises as one."""

    __slots__ = ()

    def __new__(cls, uri: str) -> Self:
        """Check ``uri``.

        Raises:
            ValueError: Not ``bronze://container/path`` or ``silver://container/path``.
        """
        tier, separator, rest = uri.partition("://")
        container, _, path = rest.partition("/")
        if not separator or tier not in {"bronze", "silver"}:
            raise ValueError(
                f"{uri!r} is not a blob reference; write bronze://container/path or silver://container/path"
            )
        if not _CONTAINER.match(container):
            raise ValueError(
                f"{uri!r} names container {container!r}; "
                "a container name is 3 to 63 lower-case letters, digits and single hyphens"
            )
        if not path or len(path) > _MAX_PATH_CHARS:
            raise ValueError(f"{uri!r} has a path of {len(path)} characters; a blob path has 1 to {_MAX_PATH_CHARS}")
        if (
            path.startswith("/")
            or path.endswith("/")
            or not {".", ".."}.isdisjoint(path.split("/"))
            or "\\" in path
            or not path.isprintable()
        ):
            raise ValueError(
                f"{uri!r} has a path that is empty, relative or unprintable in a part; write container/folder/name.tif"
            )
        return super().__new__(cls, uri)

    @classmethod
    def of(cls, tier: Tier, container: str, path: str) -> Self:
        """Build a reference from its parts."""
        return cls(f"{tier}://{container}/{path}")

    @property
    def tier(self) -> Tier:
        """``bronze`` (raw input) or ``silver`` (products)."""
        return "bronze" if self.startswith("bronze:") else "silver"

    @property
    def container(self) -> str:
        """The container's name."""
        return self.partition("://")[2].partition("/")[0]

    @property
    def path(self) -> str:
        """The path inside the container."""
        return self.partition("://")[2].partition("/")[2]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return self.name.rpartition(".")[0] or self.name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^(bronze|silver)://[a-z0-9-]{3,63}/.+$"}
