"""YouTube through yt-dlp: resolve a video, read its streams, and say what a refusal means."""

from audioset_batch.youtube.versions import activate

activate()  # the modules of this package import yt_dlp
