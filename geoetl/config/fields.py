"""The settings as a list: each variable, what it accepts, its default and its meaning, read from the models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from geoetl.config.sources import DELIMITER, PREFIX

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", SecretStr: "secret"}


@dataclass(frozen=True, slots=True)
class SettingField:
    """One variable."""

    location: tuple[str, ...]
    """Names from the root of the settings: ``("database", "app", "host")``."""
    info: FieldInfo
    is_optional_group: bool
    """Whether it belongs to a section that may be left out as a whole."""

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return variable_name(self.location)

    @property
    def is_secret(self) -> bool:
        return is_secret(self.info)

    @property
    def is_required(self) -> bool:
        return self.info.is_required()

    @property
    def default(self) -> Any:
        """The default, or None where there is none."""
        if self.info.is_required():
            return None
        return self.info.get_default(call_default_factory=True, validated_data={})

    @property
    def accepts(self) -> str:
        """Type and limits in words."""
        return ", ".join([_type_in_words(self.info.annotation), *_limits(self.info.metadata)])


def variable_name(location: Sequence[str]) -> str:
    """The environment variable of a place in the settings."""
    return PREFIX + DELIMITER.join(location).upper()


def walk(
    model: type[BaseModel], location: tuple[str, ...] = (), *, is_optional: bool = False
) -> Iterator[SettingField]:
    """Every variable of a model and of the sections in it, in the order of the models."""
    for name, info in model.model_fields.items():
        here = (*location, name)
        section = model_of(info.annotation)
        if section.model_fields:
            may_be_absent = is_optional or type(None) in get_args(info.annotation)
            yield from walk(section, here, is_optional=may_be_absent)
        else:
            yield SettingField(here, info, is_optional)


def field_at(root: type[BaseModel], location: Sequence[str]) -> FieldInfo | None:
    """The field at a place; None where there is none."""
    model = root
    field: FieldInfo | None = None
    for part in location:
        field = model.model_fields.get(part)
        if field is None:
            return None
        model = model_of(field.annotation)
    return field


def model_of(annotation: Any) -> type[BaseModel]:
    """The model in an annotation such as ``Model`` or ``Model | None``; an empty one where there is none."""
    models = [choice for choice in _choices(annotation) if isinstance(choice, type) and issubclass(choice, BaseModel)]
    return models[0] if models else BaseModel


def is_secret(info: FieldInfo) -> bool:
    """Whether the value must never be shown."""
    return SecretStr in _choices(info.annotation)


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)


def _type_in_words(annotation: Any) -> str:
    if isinstance(annotation, TypeAliasType):
        annotation = annotation.__value__
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in get_args(annotation))
    kinds = [choice for choice in _choices(annotation) if choice is not type(None)]
    return " or ".join(_WORDS.get(kind, getattr(kind, "__name__", str(kind))) for kind in kinds)


def _limits(metadata: Sequence[Any]) -> list[str]:
    words: list[str] = []
    for rule in metadata:
        match rule:
            case Ge(ge=limit):
                words.append(f">= {limit}")
            case Gt(gt=limit):
                words.append(f"> {limit}")
            case Le(le=limit):
                words.append(f"<= {limit}")
            case Lt(lt=limit):
                words.append(f"< {limit}")
            case MinLen(min_length=1):
                words.append("not empty")
            case MaxLen(max_length=limit):
                words.append(f"at most {limit} characters")
            case _:
                if pattern := getattr(rule, "pattern", None):
                    words.append(f"matching `{pattern}`")
    return words
