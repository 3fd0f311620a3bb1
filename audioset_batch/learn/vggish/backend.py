"""Imports Keras with the backend that the user chose, or one that is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import UsageError
from audioset_batch.learn import INSTALL_EXTRA
from audioset_batch.paths import expand_home

BACKENDS: Final = ("jax", "torch", "tensorflow")
"""In the order in which an installed one is taken when nobody chose."""


def import_keras() -> Any:
    """The module `keras`.

    `KERAS_BACKEND` decides; without it the backend of the user's keras.json if that is installed, else the
    first installed of `BACKENDS`. (Keras itself writes `tensorflow` into a keras.json that nobody asked for.)

    Raises:
        UsageError: Keras or a backend is not installed.
    """
    if not os.environ.get("KERAS_BACKEND"):
        choices = [name for name in (_configured_backend(), *BACKENDS) if name in BACKENDS]
        installed = [name for name in choices if importlib.util.find_spec(name) is not None]
        if not installed:
            raise UsageError(f"no Keras backend is installed: {INSTALL_EXTRA}")
        os.environ["KERAS_BACKEND"] = installed[0]
    try:
        import keras
    except ImportError as error:
        raise UsageError(
            f"Keras with backend {os.environ['KERAS_BACKEND']} cannot be imported: {error}; "
            f"{INSTALL_EXTRA}; or set KERAS_BACKEND to jax, torch or tensorflow"
        ) from error
    except ValueError as error:
        raise UsageError(f"KERAS_BACKEND={os.environ['KERAS_BACKEND']}: {error}") from error
    return keras


def _configured_backend() -> str:
    """The backend that keras.json names, or nothing."""
    try:
        home = Path(os.environ.get("KERAS_HOME") or expand_home("~/.keras"))
        return str(json.loads((home / "keras.json").read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return ""
