"""The names that `YtDlpClient` and `ClientOptions` had before `audioset_batch.youtube`, for scripts that use them."""

import sys

from audioset_batch.youtube import client as ytdlp
from audioset_batch.youtube import streams

sys.modules[f"{__name__}.ytdlp"] = ytdlp
sys.modules[f"{__name__}.streams"] = streams
