"""`keras`, imported with a backend that is installed. Only modules that are themselves imported late use this."""

from __future__ import annotations

from typing import Any

from audioset_batch.learn.vggish.backend import import_keras

keras: Any = import_keras()
