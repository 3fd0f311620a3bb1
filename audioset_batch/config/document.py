"""The configuration described from the schema itself: `configs/default.yaml` and `docs/configuration.md`.

`python -m audioset_batch.config.document yaml|markdown` prints them; a test holds the committed files to it.
"""

from __future__ import annotations

import json
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from audioset_batch.config.schema import Config, Section
from audioset_batch.config.values import accepted

_HEAD: Final = """\
# All keys of audioset-batch with their defaults. The defaults are in the code, so your own config names only what
# differs (see the other files in this folder). `--set a.b=value` overrides a key on the command line.
"""


def default_yaml() -> str:
    """The text of `configs/default.yaml`."""
    lines = [_HEAD]
    for name, field in Config.model_fields.items():
        section = _section(field)
        if section is None:
            lines += _entry(name, field, field.default, "")
        elif name == "egress":
            lines += _comment(field.description or "", "")
            lines += ["egress:"]
            entry = _block(section, "    ")
            first = next(i for i, line in enumerate(entry) if not line.lstrip().startswith("#"))
            entry[first] = "  - " + entry[first].lstrip()
            lines += entry
        else:
            lines += _comment(section.__doc__ or "", "")
            lines += [f"{name}:", *_block(section, "  ")]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def markdown() -> str:
    """The text of `docs/configuration.md`."""
    lines = [
        "# Configuration",
        "",
        "Generated from the code (`make reference`).",
        "",
        "A config is a YAML file that names only what differs from these defaults. Lists replace lists, and",
        "unknown keys are errors. On the command line, `--set section.key=value` overrides one key.",
        "",
        "No cookie and no proxy password is ever logged or written to a manifest, and `--set` refuses them.",
        "Options of yt-dlp that run programs, and `slurm.setup`, are accepted only from a config that nobody",
        "but you and root can change, or with `--trust-config`: see [security.md](security.md).",
    ]
    sections = [(name, _section(field), field) for name, field in Config.model_fields.items()]
    lines += _table("Top level", "", [(n, f) for n, s, f in sections if s is None])
    for name, section, _field in sections:
        if section is not None:
            title = f"`{name}`, a list" if name == "egress" else f"`{name}`"
            lines += _table(title, section.__doc__ or "", list(section.model_fields.items()))
    return "\n".join(lines) + "\n"


def _table(title: str, text: str, fields: list[tuple[str, FieldInfo]]) -> list[str]:
    lines = ["", f"## {title}", ""]
    if text:
        lines += [text, ""]
    lines += ["| key | default | values | what it does |", "|---|---|---|---|"]
    for name, field in fields:
        values = accepted(field).replace("|", "\\|")
        lines.append(f"| `{name}` | `{_literal(field.default)}` | {values} | {field.description} |")
    return lines


def _block(section: type[BaseModel], indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in section.model_fields.items():
        lines += _entry(name, field, field.default, indent)
    return lines


def _entry(name: str, field: FieldInfo, default: Any, indent: str) -> list[str]:
    values = accepted(field)
    text = f"{field.description} [{values}]" if values else field.description or ""
    return [*_comment(text, indent), f"{indent}{name}: {_literal(default)}"]


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, width=108, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _literal(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str) and value and value[0].isalpha() and ":" not in value:
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    for candidate in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


if __name__ == "__main__":
    sys.stdout.write(markdown() if sys.argv[1:] == ["markdown"] else default_yaml())
