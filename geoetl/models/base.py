"""The base of every model that crosses a border (API, message, row)."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen, and strict about names: an unknown field is an error, not a surprise later."""

    model_config = ConfigDict(frozen=True, extra="forbid")
