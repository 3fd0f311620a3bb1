"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.errors import UsageError

if TYPE_CHECKING:
    from audioset_batch.config import Config


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--set`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML config (default: built-in defaults)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, e.g. --set audio.sample_rate=16000 (may be repeated)",
    )


def config_from(args: argparse.Namespace, data_dir: Path | None = None) -> Config:
    """The config that the options name; `data_dir`, if given, overrides the file's."""
    from audioset_batch.config import load_config

    config = load_config(args.config, args.overrides)
    if data_dir is not None:
        config = config.model_copy(update={"data_dir": data_dir.expanduser()})
    return config


def subset_list(text: str) -> tuple[str, ...]:
    """Type of `--subsets a,b`; accepts `eval`, `balanced_train` and `unbalanced_train` too."""
    from audioset_batch.model import SUBSETS

    names = tuple(part.strip() for part in text.split(",") if part.strip())
    full = tuple(name if name in SUBSETS else f"{name}_segments" for name in names)
    unknown = [name for name, resolved in zip(names, full, strict=True) if resolved not in SUBSETS]
    if unknown or not full:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or text!r}: choose from {', '.join(SUBSETS)}")
    return tuple(dict.fromkeys(full))


def require_data_dir(config: Config) -> Path:
    """The data directory, made absolute.

    Raises:
        UsageError: neither the config nor an option names one, or it does not exist.
    """
    if config.data_dir is None:
        raise UsageError("no data directory: give --data-dir, set DATADIR, or `data_dir:` in the config")
    root = config.data_dir.resolve()
    if not root.is_dir():
        raise UsageError(f"data directory {root} does not exist: ./download_subset_files.sh makes and fills it")
    return root
