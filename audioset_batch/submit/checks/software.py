"""Python, packages and programs of this machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from audioset_batch.config import Config
from audioset_batch.config.powers import powers
from audioset_batch.errors import UsageError
from audioset_batch.submit.checks.finding import Finding, error, ok, warning
from audioset_batch.submit.checks.versions import sox_version
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.environment import detect_environment, javascript
from audioset_batch.youtube.streams import ClientOptions
from audioset_batch.youtube.versions import age_days, version_in_use

YTDLP_OLD_DAYS: Final = 90
_OLDEST: Final = (3, 11)
_NEWEST: Final = (3, 13)
_PACKAGES: Final = ("av", "soundfile", "numpy", "pandas", "pyarrow", "submitit")
_UPDATE: Final = "audioset-batch update-yt-dlp"


def check_software(config: Config) -> Iterator[Finding]:
    """Python, packages, yt-dlp and its options, its JavaScript runtime, sox."""
    yield _python()
    yield _packages()
    yield _ytdlp(_version_of_ytdlp(), datetime.datetime.now(datetime.UTC).date())
    if config.youtube.args:
        yield _ytdlp_args(config)
    yield from _surroundings(config)
    yield _sox(config)
    yield from _powers(config)


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < _OLDEST:
        return error("Python", text, "3.11 to 3.13 is needed: rm -r .venv; ./setup.sh --python PROGRAM")
    if sys.version_info[:2] > _NEWEST:
        return warning("Python", text, "tested with 3.11 to 3.13: rm -r .venv; ./setup.sh --python PROGRAM")
    return ok("Python", text)


def _packages() -> Finding:
    versions = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return error("packages", f"{', '.join(missing)} not installed", "./setup.sh")
    return ok("packages", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _ytdlp(version: str | None, today: datetime.date) -> Finding:
    """Its version is the date of its release."""
    if version is None:
        return error("yt-dlp", "not installed", "./setup.sh")
    age = age_days(version, today)
    if age is None:
        return warning("yt-dlp", f"{version}: no date in it, so its age is unknown", f"if downloads fail: {_UPDATE}")
    if age > YTDLP_OLD_DAYS:
        return warning("yt-dlp", f"{version} is {age} days old; YouTube changes faster than that", _UPDATE)
    return ok("yt-dlp", f"{version}, {age} days old")


def _ytdlp_args(config: Config) -> Finding:
    try:
        YtDlpClient(ClientOptions(args=config.youtube.args))
    except UsageError as problem:
        return error("youtube.args", str(problem), "correct youtube.args of the config")
    return ok("youtube.args", "yt-dlp takes them")


def _powers(config: Config) -> Iterator[Finding]:
    """What the config runs beside the program itself: it was taken, so it is from a trusted file or a command line."""
    for power in powers(config):
        yield ok("config", f"{'.'.join(power.key)}: {power.what}")


def _surroundings(config: Config) -> Iterator[Finding]:
    """What yt-dlp itself finds beside it: JavaScript runtimes, plugins, PO token providers."""
    try:
        found = detect_environment(config.youtube.args)
    except UsageError:
        return  # told above
    scripts = javascript(found)
    yield warning("JavaScript", scripts.text, scripts.advice) if scripts.advice else ok("JavaScript", scripts.text)
    if found.untrusted:
        advice = "take away what lets others change it (chmod go-w), or the plugins"
        yield warning("yt-dlp plugins", f"not loaded: {'; '.join(found.untrusted)}", advice)
    if found.providers:
        yield ok("PO tokens", f"from {', '.join(found.providers)}")
    else:
        yield ok("PO tokens", "no provider; the clients that are asked first need none (docs/youtube.md)")


def _sox(config: Config) -> Finding:
    try:
        version = sox_version()
    except (OSError, subprocess.TimeoutExpired) as problem:
        return error("sox", f"does not start: {problem}", "install it again: apt-get install sox, or module load sox")
    if version is not None:
        return ok("sox", f"{version} at {shutil.which('sox')}")
    advice = "apt-get install sox, conda install -c conda-forge sox, or `slurm: {modules: [sox]}` in the config"
    if config.audio.sample_rate == "keep" and config.audio.channels == "keep":
        return warning("sox", "not on the PATH; this config converts nothing, so it may not be needed", advice)
    return error("sox", "not on the PATH; every conversion would fail", advice)


def _version_of_ytdlp() -> str | None:
    try:
        return version_in_use()
    except importlib.metadata.PackageNotFoundError:
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
