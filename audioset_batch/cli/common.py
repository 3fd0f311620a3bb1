"""Options that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from audioset_batch.errors import UsageError
from audioset_batch.paths import expand_home

if TYPE_CHECKING:
    from audioset_batch.config import Config


_LIKE_OPTIONS: Final = re.compile(r"-[A-Za-z0-9_-]{10}(_\d+(_\d+(\.\w+)?)?)?\Z")


def shield_ids(argv: Sequence[str]) -> list[str]:
    """The arguments of `clip` with an id such as `-0RWZT-miFs` behind `--`, so that it is not taken for options."""
    ids = [argument for argument in argv[1:] if _LIKE_OPTIONS.match(argument)]
    if argv[:1] != ["clip"] or "--" in argv or not ids:
        return list(argv)
    return [*(argument for argument in argv if argument not in ids), "--", *ids]


def ignore_stdout() -> None:
    """Its reader has gone: what else is printed, and what exit would flush, goes nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def add_config_options(parser: argparse.ArgumentParser, *, runs: bool = False) -> None:
    """`--config` and `--set`. The job scripts know AUDIOSET_CONFIG; exporting it sets it for these commands too.

    Args:
        runs: The command does what `config.powers` describes, so it takes that only from a trusted config.
    """
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=os.environ.get("AUDIOSET_CONFIG") or None,
        help="YAML config (default: AUDIOSET_CONFIG, else the built-in defaults)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key, e.g. --set audio.sample_rate=16000 (repeatable)",
    )
    if runs:
        parser.add_argument(
            "--trust-config",
            action="store_true",
            help="accept keys that run programs from a config that others can change (docs/security.md)",
        )


def config_options(args: argparse.Namespace) -> list[str]:
    """The options of `add_config_options` for another command in another folder."""
    options: list[str] = []
    if args.config is not None:
        options += ["--config", str(expand_home(args.config).absolute())]
    for override in args.overrides:
        options += ["--set", override]
    return [*options, "--trust-config"] if args.trust_config else options


def config_from(args: argparse.Namespace, data_dir: Path | None = None) -> Config:
    """The config that the options name; `data_dir`, if given, overrides the file's."""
    from audioset_batch.config import load_config

    runs = hasattr(args, "trust_config")
    config = load_config(args.config, args.overrides, trusted=not runs or args.trust_config, secrets=runs)
    _trust(config)
    if data_dir is not None:
        config = config.model_copy(update={"data_dir": expand_home(data_dir)})
    return config


def _trust(config: Config) -> None:
    if config.trusted_owners:
        import pwd

        from audioset_batch.errors import UsageError
        from audioset_batch.sharedfs.folders import trust_owners

        uids = []
        for name in config.trusted_owners:
            try:
                uids.append(pwd.getpwnam(name).pw_uid)
            except KeyError:
                raise UsageError(f"trusted_owners: {name} is not a user of this machine") from None
        trust_owners(uids)


def require_data_dir(config: Config) -> Path:
    """The data directory, made absolute.

    Raises:
        UsageError: neither the config nor an option names one, or it does not exist.
    """
    return existing_data_dir(named_data_dir(config))


def named_data_dir(config: Config) -> Path:
    """The data directory, made absolute; it need not exist.

    Raises:
        UsageError: neither the config nor an option names one.
    """
    if config.data_dir is None:
        raise UsageError(
            "no data directory: name it on the command line (for a job: DATADIR), or `data_dir:` in the config"
        )
    return expand_home(config.data_dir).resolve()


def existing_data_dir(path: Path) -> Path:
    """`path` made absolute.

    Raises:
        UsageError: it does not exist, or is no folder.
    """
    root = expand_home(path).resolve()
    if root.exists() and not root.is_dir():
        raise UsageError(f"data directory {root} is a file: name the folder that ./download_subset_files.sh has filled")
    if not root.is_dir():
        raise UsageError(
            f"data directory {root} does not exist: ./download_subset_files.sh, or on one machine `audioset-batch "
            "download`, makes and fills it"
        )
    return root
