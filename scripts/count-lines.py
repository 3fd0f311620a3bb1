#!/usr/bin/env python3
"""Counts the lines of code of the package: no blank lines, comments or docstrings.

    scripts/count-lines.py [FOLDER ...]      default: audioset_batch; `make count` does the same

For each folder and for each sub-package it prints files, lines of code, characters per line, the class with the most
methods and the longest function. Then come the largest of each in the whole folder, and how many lines stand twice:
lines in runs of six or more that occur in two places, apart from imports.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RUN = 6
NO_CODE = frozenset(
    (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    )
)


@dataclass
class Count:
    """Of one file, or the sum of several.

    Attributes:
        classes: (methods, name) of each class.
        functions: (lines of code, name) of each function and method, without its docstring.
    """

    files: int = 0
    lines: int = 0
    characters: int = 0
    classes: list[tuple[int, str]] = field(default_factory=list)
    functions: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """Add the count of another file."""
        self.files += other.files
        self.lines += other.lines
        self.characters += other.characters
        self.classes += other.classes
        self.functions += other.functions


def code_lines(text: str, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code. A string that stands alone is a docstring wherever it is."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def count_file(path: Path) -> tuple[Count, list[str]]:
    """The count of a file, and its code line by line without imports, for `doubled`."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(path))
    lines = code_lines(text, tree)
    rows = text.splitlines()
    count = Count(1, len(lines), sum(len(rows[number - 1].strip()) for number in lines))
    imports: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = sum(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in node.body)
            count.classes.append((methods, f"{path.stem}.{node.name}"))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            count.functions.append((len(own), f"{path.stem}.{node.name}"))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return count, [rows[number - 1].strip() for number in sorted(lines - imports)]


def doubled(files: list[list[str]]) -> int:
    """How many lines are in runs of `RUN` or more that also occur elsewhere."""
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, lines in enumerate(files):
        for at in range(len(lines) - RUN + 1):
            places[tuple(lines[at : at + RUN])].append((number, at))
    twice = {
        (number, at + offset)
        for found in places.values()
        if len(found) > 1
        for number, at in found
        for offset in range(RUN)
    }
    return len(twice)


def rows_of(folder: Path) -> Iterator[str]:
    """The table of one folder."""
    rooms: dict[str, Count] = defaultdict(Count)
    total, code = Count(), []
    for path in sorted(folder.rglob("*.py")):
        count, lines = count_file(path)
        inside = path.relative_to(folder).parts
        rooms[inside[0] + "/" if len(inside) > 1 else "(modules)"].add(count)
        total.add(count)
        code.append(lines)
    if not total.files:
        sys.exit(f"count-lines: {folder}: expected a folder with Python files, found none")
    yield f"{folder}: {len(rooms) - ('(modules)' in rooms)} sub-packages"
    yield f"{'':14} {'files':>5} {'lines':>6} {'chars':>5}  largest class (methods), longest function (lines)"
    for name, count in [*sorted(rooms.items(), key=lambda item: -item[1].lines), ("total", total)]:
        methods, class_name = max(count.classes, default=(0, "-"))
        length, function = max(count.functions, default=(0, "-"))
        per_line = count.characters / max(1, count.lines)
        largest = f"{class_name} ({methods}), {function} ({length})"
        yield f"{name:14} {count.files:5} {count.lines:6,} {per_line:5.1f}  {largest}"
    yield f"lines that stand twice, in runs of {RUN} or more: {doubled(code):,}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    for folder in parser.parse_args().folders or [Path(__file__).resolve().parents[1] / "audioset_batch"]:
        print("\n".join(rows_of(folder)))


if __name__ == "__main__":
    main()
