"""Which options of yt-dlp a config may hold that others can write.

An allow-list: with each release yt-dlp gets options, and among the 300 it has today there are some thirty that run a
program, load code, read another config or write files (`--exec`, `--netrc-cmd`, `--plugin-dirs`, `--downloader`, ...).
The list has the option groups that control the requests to YouTube: network, geo-restriction, waiting, headers,
formats, the extractor, and how much it prints. Nothing of the groups about files, post-processing, authentication and
aliases is needed to resolve a video. What is not listed here, or not spelled out in full, needs a trusted config.

yt-dlp's parser is not needed for it; a test compares the list with that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audioset_batch.config.trust import who_can_change

_FLAGS: Final = """
    -i --ignore-errors --no-ignore-errors --no-abort-on-error --abort-on-error --ignore-config --no-config
    --no-config-locations --no-plugin-dirs --no-js-runtimes --no-remote-components --no-mark-watched --no-wait-for-video
    -4 --force-ipv4 -6 --force-ipv6 --geo-bypass --no-geo-bypass --no-playlist --yes-playlist --no-download-archive
    --no-cookies --no-cookies-from-browser --no-cache-dir
    -q --quiet --no-quiet --no-warnings -v --verbose --no-progress --newline -s --simulate --skip-download --no-download
    --format-sort-reset --format-sort-force --S-force --no-format-sort-force --prefer-free-formats
    --no-prefer-free-formats --check-formats --check-all-formats --no-check-formats --no-allow-unplayable-formats
    --allow-dynamic-mpd --no-ignore-dynamic-mpd --ignore-dynamic-mpd --no-allow-dynamic-mpd
    --hls-split-discontinuity --no-hls-split-discontinuity
    --youtube-include-dash-manifest --no-youtube-skip-dash-manifest --youtube-skip-dash-manifest
    --no-youtube-include-dash-manifest --youtube-include-hls-manifest --no-youtube-skip-hls-manifest
    --youtube-skip-hls-manifest --no-youtube-include-hls-manifest
    """
FLAGS: Final = frozenset(_FLAGS.split())
"""Harmless options without a value."""

_VALUED: Final = """
    --js-runtimes --extractor-args
    --proxy --socket-timeout --source-address --impersonate --geo-verification-proxy --xff --geo-bypass-country
    --geo-bypass-ip-block --age-limit -R --retries --extractor-retries --fragment-retries --file-access-retries
    --retry-sleep -r --limit-rate --rate-limit --throttled-rate --http-chunk-size --buffer-size -N
    --concurrent-fragments --user-agent --referer --add-headers --sleep-requests --sleep-interval --min-sleep-interval
    --max-sleep-interval --sleep-subtitles -f --format -S --format-sort
    """
VALUED: Final = frozenset(_VALUED.split())
"""Harmless options with one value; of `--js-runtimes` and `--extractor-args` the value counts as well."""

_RUNTIME_PROGRAMS: Final = frozenset({"deno", "node", "bun", "qjs"})
_REDIRECTS: Final = frozenset({"innertube_host"})


def powerful_options(args: Sequence[str]) -> list[str]:
    """The options among `args` that are not known to be harmless, by name and without their values."""
    found: list[str] = []
    rest = list(args)
    while rest:
        argument = rest.pop(0)
        name, assigned, value = _split(argument)
        if name in FLAGS and not assigned:
            continue
        if name in VALUED:
            if not assigned:
                value = rest.pop(0) if rest else ""
            if not _harmless_value(name, value):
                found.append(f"{name} {value}" if name == "--js-runtimes" else name)
            continue
        if argument.startswith("-"):  # others are refused by yt-dlp's parser, or are values of an option named above
            found.append(name)
    return list(dict.fromkeys(found))


def _split(argument: str) -> tuple[str, bool, str]:
    """`--format=18`, `-f18` -> name, True, value."""
    if argument.startswith("--"):
        name, assigned, value = argument.partition("=")
        return name, bool(assigned), value
    if argument.startswith("-") and len(argument) > 2 and argument[:2] in FLAGS | VALUED:
        return argument[:2], True, argument[2:]
    return argument, False, ""


def _harmless_value(name: str, value: str) -> bool:
    if name == "--js-runtimes":
        _, given, path = value.partition(":")
        return not given or _own_runtime(Path(path))
    if name == "--extractor-args":
        extractor, _, text = value.partition(":")
        keys = {item.partition("=")[0].strip().lower().replace("-", "_") for item in text.split(";")}
        return re.fullmatch("(?i)youtube", extractor) is not None and not keys & _REDIRECTS
    return True


def _own_runtime(path: Path) -> bool:
    """Whether it is a JavaScript runtime by its name, which nobody else can exchange."""
    return path.is_absolute() and path.name in _RUNTIME_PROGRAMS and path.is_file() and not who_can_change(path)
