"""Publishing small files: written beside their final name, then renamed, so that a reader sees all or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audioset_batch.errors import StorageUnusable


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends without an error.

    Raises:
        StorageUnusable: It cannot be written.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise StorageUnusable(f"{path}: cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if missing.

    Raises:
        StorageUnusable: That is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnusable(f"{path}: cannot be made: {error}") from error


def replace_text(path: Path, text: str) -> None:
    """Replace the text of `path` atomically."""
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
