"""YAML -> `Config`. Every mistake is listed at once, with file, line, key and the valid choices."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from audioset_batch.config.schema import Config
from audioset_batch.errors import UsageError

KeyPath = tuple[str | int, ...]


class ConfigError(UsageError):
    """The config cannot be used; the text lists every problem."""


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and `--set a.b=value` overrides on top of the defaults.

    Args:
        path: YAML file; None for the defaults alone.
        overrides: `a.b=value` strings; the value is read as YAML, list items are addressed by index.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has unknown keys or impossible values.
    """
    data: Any = {}
    places: dict[KeyPath, str] = {}
    problems: list[str] = []
    if path is not None:
        data, places, problems = _read_yaml(path)
    for override in overrides:
        _apply(data, override, places, problems)
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems.extend(_describe(error, places, str(path or "--set")))
    if problems or config is None:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError("\n  ".join([f"config {path or '(--set)'}: {count}", *problems]))
    return config


def _read_yaml(path: Path) -> tuple[Any, dict[KeyPath, str], list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"config {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path}: not UTF-8 text (byte {error.start})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path}: not valid YAML: {error}") from error
    except (RecursionError, ValueError) as error:  # nested too deep; impossible dates and the like
        raise ConfigError(f"config {path}: not usable as YAML: {error}") from error
    if data is None:
        return {}, {}, []
    if not isinstance(data, dict):
        raise ConfigError(f"config {path}: expected `key: value` lines, got a {type(data).__name__}")
    places: dict[KeyPath, str] = {}
    problems: list[str] = []
    for key_path, line, twice in _walk(node, (), set()):
        if twice:
            problems.append(f"{path}:{line}: {_dotted(key_path)}: given twice")
        places[key_path] = f"{path}:{line}"
    return data, places, problems


def _walk(node: yaml.Node | None, prefix: KeyPath, above: set[int]) -> Iterator[tuple[KeyPath, int, bool]]:
    if node is None or id(node) in above:  # an alias may contain itself
        return
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            yield (*prefix, key), key_node.start_mark.line + 1, key in seen
            seen.add(key)
            yield from _walk(value_node, (*prefix, key), above)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*prefix, index), item.start_mark.line + 1, False
            yield from _walk(item, (*prefix, index), above)


def _apply(data: Any, override: str, places: dict[KeyPath, str], problems: list[str]) -> None:
    dotted, separator, text = override.partition("=")
    label = f"--set {dotted}"  # without the value, which may be a password
    if not separator or not all(dotted.split(".")):
        problems.append(f"{label}: expected SECTION.KEY=VALUE, e.g. --set audio.sample_rate=16000")
        return
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        problems.append(f"{label}: the value is not valid YAML")
        return
    keys: list[str | int] = [int(part) if part.isdigit() else part for part in dotted.split(".")]
    target = data
    for key, following in itertools.pairwise(keys):
        if isinstance(target, dict):
            if not isinstance(target.get(key), dict | list):
                target[key] = [{}] if isinstance(following, int) else {}
            target = target[key]
        elif isinstance(target, list) and isinstance(key, int) and key < len(target):
            target = target[key]
        else:
            problems.append(f"{label}: there is no {dotted!r}")
            return
    last = keys[-1]
    if isinstance(target, dict) or (isinstance(target, list) and isinstance(last, int) and last < len(target)):
        container: Any = target
        container[last] = value
        places[tuple(keys)] = label
    else:
        problems.append(f"{label}: there is no {dotted!r}")


def _describe(error: ValidationError, places: dict[KeyPath, str], fallback: str) -> list[str]:
    """One line per key: pydantic reports each member of a union by itself."""
    by_key: dict[KeyPath, list[str]] = {}
    items = [(_known_prefix(item["loc"]), item) for item in error.errors(include_url=False)]
    for key_path, item in items:
        if item["type"] == "too_short" and any(other[: len(key_path)] == key_path != other for other, _ in items):
            continue  # pydantic counts only the valid items of a list
        if item["type"] == "extra_forbidden":
            text = f"unknown key; {_valid_keys(key_path)}"
        else:
            text = item["msg"].removeprefix("Value error, ")
        by_key.setdefault(key_path, []).append(text)
    lines = []
    for key_path, texts in by_key.items():
        value = _value_at(error, key_path)
        lines.append(
            f"{_place(key_path, places, fallback)}: {_dotted(key_path)}: "
            + " or ".join(dict.fromkeys(texts))
            + (f" (got {value!r})" if value is not None and not texts[0].startswith("unknown key") else "")
        )
    return lines


def _known_prefix(loc: Iterable[str | int]) -> KeyPath:
    """The part of a pydantic location that is a key of the file, without names of union members."""
    result: list[str | int] = []
    model: Any = Config
    for part in loc:
        if isinstance(part, int):
            result.append(part)
            continue
        if model is None:
            break
        result.append(part)
        field = model.model_fields.get(part)
        model = None if field is None else _section_of(field.annotation)
    return tuple(result)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        section = _section_of(argument)
        if section is not None:
            return section
    return None


def _valid_keys(key_path: KeyPath) -> str:
    model: type[BaseModel] = Config
    for part in key_path[:-1]:
        if isinstance(part, str):
            model = _section_of(model.model_fields[part].annotation) or model
    valid = list(model.model_fields)
    close = difflib.get_close_matches(str(key_path[-1]), valid, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}valid keys: {', '.join(valid)}"


def _value_at(error: ValidationError, key_path: KeyPath) -> Any:
    for item in error.errors(include_url=False):
        if _known_prefix(item["loc"]) == key_path:
            value = item["input"]
            if "proxy" in key_path or isinstance(value, dict | list | tuple | BaseModel):
                return None  # a proxy may hold a password; a whole section is no help
            return value
    return None


def _place(key_path: KeyPath, places: dict[KeyPath, str], fallback: str) -> str:
    for length in range(len(key_path), 0, -1):
        place = places.get(key_path[:length])
        if place is not None:
            return place
    return fallback


def _dotted(key_path: KeyPath) -> str:
    return ".".join(str(part) for part in key_path)
