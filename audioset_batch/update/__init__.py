"""Bring yt-dlp to its newest release beside the one in use, and let new processes take it once it has proved itself."""

from audioset_batch.update.run import undo, update, update_if_due

__all__ = ["undo", "update", "update_if_due"]
