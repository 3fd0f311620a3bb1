"""Types of command-line arguments: what each takes, and what argparse says if something else is given."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Final

_RANGE: Final = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6})(?::([0-9]{1,6}))?)?")
_MOST_DIGITS: Final = 18


def count(text: str) -> int:
    """A whole number, 0 or more."""
    return _whole_number(text, 0)


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    return _whole_number(text, 1)


def _whole_number(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {least} or more")
    return int(text)


def number_between(least: float, most: float, unit: str) -> Callable[[str], float]:
    """A number of `unit` within bounds."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number of {unit} from {least:g} to {most:g}")
        return value

    return number


def words(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def subset_list(text: str) -> tuple[str, ...]:
    """Names of subsets between commas; the beginning of a name will do: `eval`, `balanced`, `unbalanced`."""
    from audioset_batch.model import SUBSETS

    names = words(text)
    found = {name: next((subset for subset in SUBSETS if subset.startswith(name)), None) for name in names}
    unknown = [name for name, subset in found.items() if subset is None]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown) or text!r}: choose from {', '.join(SUBSETS)}; "
            "`eval`, `balanced`, `unbalanced` will do"
        )
    return tuple(subset for subset in dict.fromkeys(found.values()) if subset is not None)


def task_numbers(text: str) -> tuple[int, ...] | str:
    """Numbers of shards as in sbatch's `--array`, or `all`."""
    if text == "all":
        return text
    numbers: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise argparse.ArgumentTypeError(
                f"{text!r}: expected the number of a shard, or several as in sbatch's --array, without %: 7, 1-10, "
                "3,5-7, 1-9:2; or all"
            )
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        if first < 1 or last < first or step < 1:
            raise argparse.ArgumentTypeError(f"{text!r}: shards count from 1, and a range goes up")
        numbers.update(range(first, last + 1, step))
    return tuple(sorted(numbers))


def ytdlp_version(text: str) -> str:
    """A version of yt-dlp."""
    from audioset_batch.youtube.versions import is_version

    if not is_version(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no version of yt-dlp: expected one like 2026.10.26")
    return text
