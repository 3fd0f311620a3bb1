"""YAML -> `Config`. Every mistake is listed at once, with file, line, key and the valid choices."""

from __future__ import annotations

import difflib
import itertools
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from audioset_batch.config.powers import powers
from audioset_batch.config.proxy import read_proxy_file
from audioset_batch.config.redact import redact, redact_values
from audioset_batch.config.schema import Config
from audioset_batch.config.trust import who_can_change
from audioset_batch.config.values import accepted
from audioset_batch.errors import UsageError

KeyPath = tuple[str | int, ...]

_ON_COMMAND_LINE: Final = "--set "
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""None of them is of use in a value, and a line break in one would begin a line of its own in an sbatch script."""

_NO_MAPPING: Final = ("dict_type", "model_type", "model_attributes_type")
"""Pydantic's kinds of errors where `key: value` lines are expected."""


class ConfigError(UsageError):
    """The config cannot be used; the text lists every problem."""


def load_config(
    path: Path | None = None, overrides: Sequence[str] = (), *, trusted: bool = False, secrets: bool = True
) -> Config:
    """Read a config file and `--set a.b=value` overrides on top of the defaults.

    Args:
        path: YAML file; None for the defaults alone.
        overrides: `a.b=value` strings; the value is read as YAML, list items are addressed by index.
        trusted: Take what runs programs (see `config.powers`) from a file that others can write, too.
        secrets: Read the files that `proxy_file` names; False for who only looks, and may not be allowed to.

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
    else:
        if path is not None and not trusted:
            problems.extend(_not_to_be_trusted(config, path, places))
        if secrets:
            config = _with_proxies(config, places, str(path or "--set"), problems)
    if problems or config is None:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError(redact("\n  ".join([f"config {path or '(--set)'}: {count}", *problems])))
    return config


def _not_to_be_trusted(config: Config, path: Path, places: Mapping[KeyPath, str]) -> list[str]:
    """What a file that others can write may not say. What `--set` says is the user's own."""
    from_file = [
        power for power in powers(config) if not _place(power.key, places, str(path)).startswith(_ON_COMMAND_LINE)
    ]
    who = who_can_change(path) if from_file else ""
    if not who:
        return []
    return [
        f"{_place(power.key, places, str(path))}: {_dotted(power.key)}: {power.what}, so it is taken only from a file "
        f"that nobody but you and root can change, and {who}. Take a copy of your own (chmod go-w), or give "
        "--trust-config"
        for power in from_file
    ]


def _with_proxies(config: Config, places: Mapping[KeyPath, str], fallback: str, problems: list[str]) -> Config:
    """The config with the URL of each `proxy_file` as `proxy`."""
    egresses = []
    for index, egress in enumerate(config.egress):
        if egress.proxy_file is not None:
            key: KeyPath = ("egress", index, "proxy_file")
            try:
                egress = egress.model_copy(update={"proxy": read_proxy_file(egress.proxy_file)})
            except ValueError as error:
                problems.append(f"{_place(key, places, fallback)}: {_dotted(key)}: {error}")
        egresses.append(egress)
    return config.model_copy(update={"egress": tuple(egresses)})


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
        raise ConfigError(redact(f"config {path}: not valid YAML: {_yaml_problem(error)}")) from error
    except (RecursionError, ValueError) as error:  # nested too deep; impossible dates and the like
        raise ConfigError(f"config {path}: not usable as YAML: {error}") from error
    if data is None:
        return {}, {}, []
    if not isinstance(data, dict):
        raise ConfigError(f"config {path}: expected `key: value` lines, got a {type(data).__name__}")
    places: dict[KeyPath, str] = {}
    problems: list[str] = []
    for key_path, value, twice in _walk(node, (), set()):
        place = f"{path}:{value.start_mark.line + 1}"
        if twice:
            problems.append(f"{place}: {_dotted(key_path)}: given twice")
        if isinstance(value, yaml.ScalarNode) and _CONTROL.search(value.value) and key_path[:2] != ("slurm", "setup"):
            problems.append(f"{place}: {_dotted(key_path)}: has a line break or another control character")
        places[key_path] = place
    return data, places, problems


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Without the line itself, which yaml would show: it may hold a password."""
    mark = getattr(error, "problem_mark", None)
    what = str(getattr(error, "problem", None) or "not readable")
    return what if mark is None else f"{what} (line {mark.line + 1}, column {mark.column + 1})"


def _walk(node: yaml.Node | None, prefix: KeyPath, above: set[int]) -> Iterator[tuple[KeyPath, yaml.Node, bool]]:
    if node is None or id(node) in above:  # an alias may contain itself
        return
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            yield (*prefix, key), value_node, key in seen
            seen.add(key)
            yield from _walk(value_node, (*prefix, key), above)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*prefix, index), item, False
            yield from _walk(item, (*prefix, index), above)


def _apply(data: Any, override: str, places: dict[KeyPath, str], problems: list[str]) -> None:
    dotted, separator, text = override.partition("=")
    label = f"{_ON_COMMAND_LINE}{dotted}"  # without the value, which may be a password
    if not separator or not all(dotted.split(".")):
        problems.append(f"{label}: expected SECTION.KEY=VALUE, e.g. --set audio.sample_rate=16000")
        return
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        problems.append(f"{label}: the value is not valid YAML")
        return
    if redact_values(value) != value:
        problems.append(
            f"{label}: has a password or a token, and everybody on this machine can read command lines: put it into a "
            "config that only you can read, a proxy into its `proxy_file:` or the variable HTTPS_PROXY, cookies into "
            "the file that `cookies:` names"
        )
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
        for place in [place for place in places if place[: len(keys)] == tuple(keys)]:
            del places[place]
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
        elif item["type"] == "value_error":
            text = item["msg"].removeprefix("Value error, ")
        else:
            text = _expected(key_path, item["type"]) or item["msg"]
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


def _expected(key_path: KeyPath, kind: str) -> str:
    """What a key takes, where a value of another form came; "" where pydantic says it well enough."""
    model: type[BaseModel] | None = Config
    annotation: Any = None
    words = ""
    for part in key_path:
        if isinstance(part, str) and model is not None:
            field = model.model_fields[part]
            annotation, words = field.annotation, accepted(field).replace("`", "")
            model = _section_of(annotation)
    if kind in _NO_MAPPING:
        return "expected `key: value` lines"
    if kind == "too_short" or typing.get_origin(annotation) in (dict, typing.Literal):
        return ""
    return f"expected {'a list of sections' if model is not None else words}"


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
            if {"proxy", "args"} & set(key_path) or isinstance(value, dict | list | tuple | BaseModel):
                return None  # a proxy or an option of yt-dlp may hold a password; a whole section is no help
            return value
    return None


def _place(key_path: KeyPath, places: Mapping[KeyPath, str], fallback: str) -> str:
    for length in range(len(key_path), 0, -1):
        place = places.get(key_path[:length])
        if place is not None:
            return place
    return fallback


def _dotted(key_path: KeyPath) -> str:
    return ".".join(str(part) for part in key_path)
