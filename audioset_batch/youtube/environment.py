"""Report what yt-dlp finds on this machine: JavaScript runtimes and PO token providers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from yt_dlp.globals import supported_js_runtimes

from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.plugins import untrusted_plugins
from audioset_batch.youtube.po_tokens import providers
from audioset_batch.youtube.streams import ClientOptions

_INSTALL: Final = "./setup.sh --with javascript (deno beside Python)"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A JavaScript runtime that was found.

    Attributes:
        enabled: yt-dlp uses it, by default or because of `--js-runtimes`.
        supported: It is new enough for this yt-dlp.
        oldest: The oldest supported version; "" if unknown.
    """

    name: str
    version: str
    path: str
    enabled: bool
    supported: bool
    oldest: str


@dataclass(frozen=True, slots=True)
class Environment:
    """JavaScript runtimes, PO token providers and plugins of this machine.

    Attributes:
        solves: yt-dlp can run player scripts: a runtime is enabled and supported, and yt-dlp-ejs is installed.
        providers: Names of the usable PO token providers.
        untrusted: Why no plugins are loaded; empty if they are.
    """

    runtimes: tuple[Runtime, ...]
    solves: bool
    providers: tuple[str, ...]
    untrusted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JavaScriptSupport:
    """Whether player scripts can be run, as text; `advice` is "" if nothing needs to be done."""

    text: str
    advice: str = ""


def javascript(found: Environment) -> JavaScriptSupport:
    """Describe whether yt-dlp can run player scripts, with which runtime, and what to do if it cannot."""
    named = {one.name: f"{one.name} {one.version} at {one.path}" for one in found.runtimes}
    used = [named[one.name] for one in found.runtimes if one.enabled and one.supported]
    if found.solves:
        return JavaScriptSupport(", ".join(used))
    if used:
        return JavaScriptSupport(
            f"{', '.join(used)}, but yt-dlp's scripts for it (yt-dlp-ejs) are missing", "./setup.sh"
        )
    for one in found.runtimes:
        if one.supported and one.name == "deno":  # which yt-dlp uses by default
            advice = "take --no-js-runtimes out of youtube.args, or accept fewer formats"
            return JavaScriptSupport(f"{named[one.name]} is there, but youtube.args switch it off", advice)
        if one.supported:
            advice = f'youtube: {{args: ["--js-runtimes", "{one.name}"]}} in the config, or {_INSTALL}'
            return JavaScriptSupport(f"{named[one.name]} is there, but yt-dlp uses only deno by default", advice)
    old = [f"{named[one.name]} is older than {one.oldest}, which yt-dlp needs" for one in found.runtimes]
    none = "no runtime that yt-dlp takes: YouTube gives it fewer formats without one"
    return JavaScriptSupport("; ".join([none, *old]), _INSTALL)


def detect_environment(args: Sequence[str]) -> Environment:
    """Find out what yt-dlp finds with these command-line options.

    Raises:
        UsageError: the options are invalid.
    """
    client = YtDlpClient(ClientOptions(args=tuple(args)))
    ydl, extractor = client.parts
    tokens = tuple(providers(extractor))
    solvers = getattr(getattr(extractor, "_jsc_director", None), "providers", {}).values()
    return Environment(
        runtimes=tuple(_runtimes(getattr(ydl, "_js_runtimes", {}))),
        solves=any(one.is_available() for one in solvers),
        providers=tokens,
        untrusted=tuple(untrusted_plugins()),
    )


def _runtimes(enabled: dict[str, Any]) -> list[Runtime]:
    found = []
    for name, kind in supported_js_runtimes.value.items():
        runtime = enabled.get(name)
        info = (runtime or kind()).info
        if info is not None:
            oldest = ".".join(map(str, getattr(kind, "MIN_SUPPORTED_VERSION", ())))
            path = shutil.which(info.path) or info.path
            found.append(Runtime(name, info.version, path, runtime is not None, info.supported, oldest))
    return found
