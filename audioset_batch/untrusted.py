"""Values that other users or other versions have written: taken only with the type and within the bounds expected."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that steer a terminal or cannot be seen: controls, direction marks, surrogates, line ends."""


def load_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`.

    Raises:
        ValueError: it is none; says why.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def visible(text: str, most: int = 1000) -> str:
    """`text` without what steers a terminal, in one line, and not longer than `most` characters."""
    if not (text.isascii() and text.isprintable()):
        text = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _HIDDEN else c for c in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def visible_lines(text: str) -> str:
    """`text` without what steers a terminal; its lines and tabs stay lines and spaces."""
    if text.isascii() and text.isprintable():
        return text
    return "\n".join(visible(line, len(line)) for line in text.expandtabs().split("\n"))


def text(value: object, most: int = 300) -> str:
    """A text fit to be shown, shortened to `most` characters.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {type(value).__name__}")
    return visible(value, most)


def number(value: object, low: float, high: float) -> float:
    """A finite number within bounds.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, found {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"expected a number from {low:g} to {high:g}, found another")
    return float(value)  # bounds are finite, and so is it


def whole(value: object, low: int, high: int) -> int:
    """A whole number within bounds.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, found {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, found another")
    return value


def truth(value: object) -> bool:
    """True or false.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {type(value).__name__}")
    return value


_LARGE: Final = 10**12
_FIELDS: Final[Mapping[object, Callable[[object], object]]] = {
    "bool": truth,
    "int": lambda value: whole(value, 0, _LARGE),
    "float": lambda value: number(value, -_LARGE, _LARGE),
    "str": text,
}


def fields_of(kind: type[Any], values: object) -> dict[str, Any]:
    """The values of a dataclass's fields of type bool, int (not negative), float and str, as far as they are given.

    Fields of other types are left to the caller, and unknown ones (a later version's) left out.

    Raises:
        ValueError: a value has another type or is out of bounds.
    """
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    found = {}
    for field in fields(kind):
        if field.name in values and field.type in _FIELDS:
            try:
                found[field.name] = _FIELDS[field.type](values[field.name])
            except ValueError as error:
                raise ValueError(f"{field.name}: {error}") from None
    return found
