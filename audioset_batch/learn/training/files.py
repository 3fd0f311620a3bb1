"""Publishing small files: written beside their final name, then renamed, so that a reader sees all or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audioset_batch.errors import StorageUnusable, UsageError


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends without an error.

    Raises:
        StorageUnusable: It cannot be written.
        UsageError: There is a folder in its place, or a file in that of its folder.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise UsageError(f"{path}: expected a file or a name for a new one, a folder is there")
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
        UsageError: There is a file in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{path}: expected a folder or a name for a new one, a file is there") from error
    except OSError as error:
        raise StorageUnusable(f"{path}: cannot be made: {error}") from error


def replace_text(path: Path, text: str) -> None:
    """Replace the text of `path` atomically."""
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
