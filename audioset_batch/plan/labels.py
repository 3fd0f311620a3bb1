"""AudioSet's classes: names and MIDs, and the ontology that orders them."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.errors import InputRefused, UsageError

_INDEX_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One row of `class_labels_indices.csv`."""

    index: int
    mid: str
    name: str


def load_class_names(path: Path) -> dict[str, str]:
    """MID -> display name from `class_labels_indices.csv`, in the file's order; empty if it does not exist.

    Raises:
        InputRefused: the file is not `index,mid,display_name` rows.
    """
    return {row.mid: row.name for row in load_class_rows(path)}


def load_class_rows(path: Path) -> list[ClassRow]:
    """The rows of `class_labels_indices.csv`, with or without its header; none if the file does not exist.

    Raises:
        InputRefused: the file is not `index,mid,display_name` rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(f"{path}: cannot be read as the list of classes: {error}") from error
    rows: list[ClassRow] = []
    for number, fields in enumerate(lines, 1):
        index = _index_of(fields)
        if not any(field.strip() for field in fields) or (number == 1 and index is None):
            if number == 1 and [field.strip() for field in fields[:3]] != ["index", "mid", "display_name"]:
                raise InputRefused(
                    f"{path}: expected the header index,mid,display_name, found {','.join(fields)[:60]!r}. "
                    "Remove the file to have it fetched again"
                )
            continue
        if len(fields) < 3 or index is None or not fields[1].strip().startswith("/"):
            raise InputRefused(
                f"{path}: line {number}: expected index,mid,display_name, found {','.join(fields)[:60]!r}. "
                "Remove the file to have it fetched again"
            )
        rows.append(ClassRow(index, fields[1].strip(), fields[2].strip()))
    if not rows:
        raise InputRefused(f"{path}: no class in it. Remove the file to have it fetched again")
    return rows


def _index_of(fields: list[str]) -> int | None:
    text = fields[0].strip() if fields else ""
    return int(text) if text.isdecimal() and len(text) <= _INDEX_DIGITS else None


def resolve_labels(text: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """The MIDs that a list such as `Dog,Male speech, man speaking,/m/09x0r` names.

    Names hold commas themselves, so the longest name that matches is taken first. Case and spaces around commas
    do not matter.

    Args:
        text: Display names or MIDs, separated by commas.
        names: MID -> display name of every class that may be named.

    Raises:
        UsageError: some are not known; names the closest ones.
    """
    parts = [" ".join(part.split()) for part in text.split(",")]
    known = {_fold(name): mid for mid, name in names.items()} | {_fold(mid): mid for mid in names}
    longest = max((key.count(",") + 1 for key in known), default=1)
    found: list[str] = []
    unknown: list[str] = []
    at = 0
    while at < len(parts):
        if not parts[at]:
            at += 1
            continue
        for count in range(min(longest, len(parts) - at), 0, -1):
            mid = known.get(_fold(",".join(parts[at : at + count])))
            if mid is not None:
                found.append(mid)
                at += count
                break
        else:
            unknown.append(parts[at])
            at += 1
    if unknown:
        raise UsageError("; ".join(_unknown(part, names) for part in unknown))
    if not found:
        raise UsageError("--labels names no label: give display names or MIDs, e.g. --labels 'Dog,Speech'")
    return tuple(dict.fromkeys(found))


def _fold(name: str) -> str:
    return ",".join(" ".join(part.split()).casefold() for part in name.split(","))


def _unknown(part: str, names: Mapping[str, str]) -> str:
    folded = {name.casefold(): name for name in (*names.values(), *names)}
    close = difflib.get_close_matches(part.casefold(), folded, n=5, cutoff=0.5)
    holding = [name for key, name in folded.items() if part.casefold() in key][:5]
    proposals = list(dict.fromkeys([folded[key] for key in close] + holding))[:6]
    hint = f"did you mean {' | '.join(proposals)}?" if proposals else "see class_labels_indices.csv"
    return f"unknown label {part!r}: {hint}"


@dataclass(frozen=True, slots=True)
class Ontology:
    """The nodes of `ontology.json` in the order of the file, by MID.

    Attributes:
        names: Display names; the MID where a node has none.
        children: Direct children.
    """

    names: dict[str, str]
    children: dict[str, tuple[str, ...]]

    def with_descendants(self, mids: Iterable[str]) -> tuple[str, ...]:
        """`mids` and everything below them."""
        found: dict[str, None] = {}
        waiting = list(mids)
        while waiting:
            mid = waiting.pop(0)
            if mid not in found:
                found[mid] = None
                waiting.extend(self.children.get(mid, ()))
        return tuple(found)


def load_ontology(path: Path) -> Ontology:
    """Read `ontology.json`.

    Raises:
        InputRefused: the file is missing or is not the ontology.
    """
    try:
        nodes = json.loads(path.read_text(encoding="utf-8-sig"))
        return Ontology(
            {str(node["id"]): str(node.get("name", node["id"])) for node in nodes},
            {str(node["id"]): tuple(map(str, node["child_ids"])) for node in nodes},
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputRefused(
            f"{path}: expected the AudioSet ontology, a JSON list of nodes with id, name and child_ids: {error!r}. "
            "Remove it, or fetch it again"
        ) from error
