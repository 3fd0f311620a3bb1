"""Embeds one shard: what is missing of it, in parts, until done or asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import Interrupted
from audioset_batch.fetch import Progress
from audioset_batch.learn.features.sequence import Record
from audioset_batch.learn.vggish.engine import Engine
from audioset_batch.learn.vggish.inputs import Sound
from audioset_batch.learn.vggish.pipeline import Embedded, Timing, embed_all, prepare_all
from audioset_batch.learn.vggish.store import ShardStore, clip_key

PART_CLIPS: Final = 500
PART_SECONDS: Final = 10.0
"""A part is written after so many clips, or so many seconds if that is earlier: what a kill may cost."""


@dataclass(slots=True)
class JobResult:
    """What a run of one shard did.

    Attributes:
        planned: Clips of the shard.
        resumed: Of these, embedded by earlier runs.
        embedded: Embedded by this run.
        too_short: Without a single example (less than 0.975 s).
        damaged: Could not be read.
        problems: One line for each clip of the last two.
        files: What was published.
        timing: Where the seconds went.
        elapsed: Seconds of this run.
    """

    planned: int = 0
    resumed: int = 0
    embedded: int = 0
    too_short: int = 0
    damaged: int = 0
    problems: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)
    elapsed: float = 0.0

    def summary(self) -> dict[str, Any]:
        """For the sidecar file; plain JSON values."""
        return {
            "planned": self.planned,
            "embedded": self.resumed + self.embedded,
            "too_short": self.too_short,
            "damaged": self.damaged,
            "problems": self.problems,
            "times_real_time": round(self.timing.audio / self.elapsed, 2) if self.elapsed else None,
            "network_seconds": round(self.timing.network, 2),
            "waiting_seconds": round(self.timing.waiting, 2),
            "front_end_seconds": round(self.timing.front_end, 2),
        }


@dataclass(slots=True)
class EmbedJob:
    """Embeds those clips of a shard that its store does not have, then publishes.

    Attributes:
        clips: The shard's clips, any splits.
        engine: Network and PCA.
        store: Where they go.
        threads: For decoding and the front end.
        stop: Asked before each further clip is read.
        progress: Told (clips done in this run, clips to do) after each batch.
        part_clips: Clips per part.
        result: What it has done so far.
    """

    clips: Sequence[Sound]
    engine: Engine
    store: ShardStore
    threads: int
    stop: Callable[[], bool] = lambda: False
    progress: Progress | None = None
    part_clips: int = PART_CLIPS
    result: JobResult = field(default_factory=JobResult)

    def run(self) -> JobResult:
        """Do it.

        Raises:
            Interrupted: `stop()` became true; what was under way is finished and kept.
            StorageUnusable: The disk is full.
        """
        begun = time.monotonic()
        result = self.result
        result.planned = len(self.clips)
        splits = sorted({clip.split for clip in self.clips})
        for split in splits:
            own = [clip for clip in self.clips if clip.split == split]
            done = self.store.done(split)
            missing = [clip for clip in own if clip_key(clip) not in done]
            result.resumed += len(own) - len(missing)
            self._run_split(split, missing)
        result.elapsed = time.monotonic() - begun
        if self.stop():
            raise Interrupted(
                f"stopped as asked after {result.embedded} clips; {result.resumed + result.embedded} of "
                f"{result.planned} are kept, run the same command again for the rest"
            )
        result.files = self.store.finish(splits, result.summary())
        return result

    def _run_split(self, split: str, clips: Sequence[Sound]) -> None:
        network, timing = self.engine.network, self.result.timing
        prepared = prepare_all(clips, self.threads, self.stop, timing)
        waiting: list[Record] = []
        seen, written_at = 0, time.monotonic()
        try:
            for group in embed_all(prepared, network.embed, network.batch_size, timing):
                seen += len(group)
                waiting += [_record(item, self.engine) for item in group if _accepted(item, self.result)]
                if len(waiting) >= self.part_clips or time.monotonic() - written_at >= PART_SECONDS:
                    self.result.embedded += len(waiting)
                    full, waiting = waiting, []
                    self.store.write_part(split, full)
                    written_at = time.monotonic()
                if self.progress:
                    self.progress(seen, len(clips))
        finally:
            # Also when the user presses Ctrl-C: what is embedded is kept.
            self.result.embedded += len(waiting)
            self.store.write_part(split, waiting)


def _accepted(item: Embedded, result: JobResult) -> bool:
    prepared = item.prepared
    if not prepared.problem:
        return True
    result.problems.append(prepared.problem)
    if prepared.damaged:
        result.damaged += 1
    else:
        result.too_short += 1
    return False


def _record(item: Embedded, engine: Engine) -> Record:
    clip = item.prepared.clip
    end_ms = clip.start_ms + round(item.prepared.duration * 1000) if clip.end_ms is None else clip.end_ms
    return Record(
        video_id=clip.video_id,
        start=clip.start_ms / 1000,
        end=end_ms / 1000,
        labels=clip.labels,
        embedding=engine.pca.postprocess(item.embeddings),
    )
