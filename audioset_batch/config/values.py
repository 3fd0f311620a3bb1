"""What single values of the config look like: durations, numbers, texts of a form; and the words for that."""

from __future__ import annotations

import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

LONGEST_SECONDS: Final = 31 * 86400
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s?([smh])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written; without it, its type says enough.

    Attributes:
        name: In place of the type, before the bounds.
        examples: After them.
    """

    name: str
    examples: str = ""


_SECONDS: Final = Form("seconds", ", or with a unit: `90s`, `30m`, `1.5h`")


def _no_truth(value: object) -> object:
    """YAML's `yes` and `true` are no numbers; pydantic takes them for 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("no_number", "true and false are not numbers")
    return value


def _seconds(value: object) -> object:
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) * _UNITS[match[2]] if match else _no_truth(value)


def _whole_seconds(value: object) -> object:
    seconds = _seconds(value)
    return int(seconds) if isinstance(seconds, float) and seconds.is_integer() else seconds


Number = Annotated[float, BeforeValidator(_no_truth), Field(strict=False)]
"""With or without a fraction; YAML reads `1e3` as text."""

Duration = Annotated[
    float,
    _SECONDS,
    BeforeValidator(_seconds),
    Field(strict=False, ge=0, le=LONGEST_SECONDS),
]
"""Seconds."""

Seconds = Annotated[Duration, Field(gt=0)]
"""More than none."""

WholeSeconds = Annotated[int, _SECONDS, BeforeValidator(_whole_seconds), Field(ge=0)]
Bytes = Annotated[int, Form("whole number of bytes")]


def accepted(field: FieldInfo) -> str:
    """What the key takes, in words: choices, `keep or an integer >= 8000`, `null or text`."""
    return _words(field.annotation, field.metadata)


def _words(annotation: Any, metadata: list[Any]) -> str:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        inner = [part for one in arguments[1:] for part in getattr(one, "metadata", [one])]
        return _words(arguments[0], [*inner, *metadata])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(part, metadata) for part in arguments)
    if origin in (tuple, list):
        return f"list of {_words(arguments[0], [])}"
    if origin is dict:
        return "mapping"
    name = {int: "integer", float: "number", str: "text", Path: "path", bool: "true, false"}.get(
        annotation, "null" if annotation is type(None) else str(annotation)
    )
    form = next((item for item in metadata if isinstance(item, Form)), Form(name))
    if annotation not in (int, float):
        return form.name + form.examples if annotation is str else name
    bounds = {  # an inner bound may be narrowed, `> 0` takes the place of `>= 0`
        sign[0]: f"{sign} {getattr(item, attribute):.10g}"
        for item in metadata
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if getattr(item, attribute, None) is not None
    }
    return " ".join(filter(None, [form.name, " and ".join(bounds.values())])) + form.examples
