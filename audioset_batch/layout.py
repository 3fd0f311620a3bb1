"""Every path of a data directory is spelled here and nowhere else (the contract is docs/data-layout.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from audioset_batch.errors import InputRefused
from audioset_batch.model import SUBSETS, Segment

_SHARD_SUFFIX = re.compile(r"\.(\d{2,})\Z")


def shard_suffix(shard: int) -> str:
    """`1 -> "01"`, `99 -> "99"`, `100 -> "100"`."""
    return f"{shard:02d}"


def parse_shard_suffix(name: str) -> int | None:
    """The shard number at the end of a file name such as `eval_segments.csv.07`, or None."""
    match = _SHARD_SUFFIX.search(name)
    if match is None or (len(match[1]) > 2 and match[1].startswith("0")):
        return None
    return int(match[1]) or None


@dataclass(frozen=True, slots=True)
class ShardId:
    """One shard of one subset; `str()` gives the name used for its manifest, state and lease."""

    subset: str
    number: int

    def __str__(self) -> str:
        return f"{self.subset}.{shard_suffix(self.number)}"


def no_shards(root: Path) -> InputRefused:
    """The error for a data directory that was never prepared."""
    return InputRefused(
        f"{root}: no shards (*.csv.NN) here; ./download_subset_files.sh DATADIR makes them, on one machine "
        "`audioset-batch download DATADIR` does all"
    )


@dataclass(frozen=True, slots=True)
class DataDir:
    """The paths under one DATADIR. Nothing here touches the disk except the two listings of shards."""

    root: Path

    # What prep writes
    def segments_csv(self, subset: str) -> Path:
        return self.root / f"{subset}.csv"

    def rejected_csv(self, subset: str) -> Path:
        return self.root / f"{subset}.rejected.csv"

    def shard_csv(self, shard: ShardId) -> Path:
        return self.root / f"{shard.subset}.csv.{shard_suffix(shard.number)}"

    @property
    def class_labels_csv(self) -> Path:
        return self.root / "class_labels_indices.csv"

    @property
    def ontology_json(self) -> Path:
        return self.root / "ontology.json"

    def shards(self, subset: str) -> list[ShardId]:
        """Shards of `subset` that prep made, by number."""
        numbers = (parse_shard_suffix(path.name) for path in self.root.glob(f"{subset}.csv.*"))
        return [ShardId(subset, number) for number in sorted(n for n in numbers if n is not None)]

    def subsets_present(self) -> list[str]:
        """Subsets that have shards, in the order of `SUBSETS`, then any others by name."""
        found = {
            path.name.partition(".csv.")[0]
            for path in self.root.glob("*.csv.*")
            if parse_shard_suffix(path.name) is not None
        }
        return [s for s in SUBSETS if s in found] + sorted(found - set(SUBSETS))

    def all_shards(self) -> list[ShardId]:
        """The shards of all subsets.

        Raises:
            InputRefused: there are none.
        """
        shards = [shard for subset in self.subsets_present() for shard in self.shards(subset)]
        if not shards:
            raise no_shards(self.root)
        return shards

    # What a worker writes
    def stem(self, segment: Segment) -> str:
        return f"{segment.ytid}_{segment.start_ms}_{segment.end_ms}"

    def audio_dir(self, subset: str) -> Path:
        return self.root / "data" / subset / "audio"

    def video_dir(self, subset: str) -> Path:
        return self.root / "data" / subset / "video"

    def audio(self, segment: Segment, extension: str) -> Path:
        return self.audio_dir(segment.subset) / f"{self.stem(segment)}.{extension}"

    def video(self, segment: Segment, extension: str) -> Path:
        return self.video_dir(segment.subset) / f"{self.stem(segment)}.{extension}"

    def tar_dir(self, subset: str) -> Path:
        return self.root / "data" / subset / "tar"

    @property
    def manifests(self) -> Path:
        return self.root / "manifests"

    def manifest(self, shard: ShardId) -> Path:
        return self.manifests / f"{shard}.jsonl"

    def torn(self, shard: ShardId) -> Path:
        """What was found in a manifest and is no row: torn ends, damaged lines."""
        return self.manifests / f"{shard}.jsonl.torn"

    def recorded_shards(self) -> list[ShardId]:
        """Shards that have a manifest, planned or not, by name."""
        names = sorted(path.name.removesuffix(".jsonl") for path in self.manifests.glob("*.jsonl"))
        parts = ((name.rpartition(".")[0], parse_shard_suffix(name)) for name in names)
        return [ShardId(subset, number) for subset, number in parts if number is not None]

    @property
    def states(self) -> Path:
        return self.root / "state"

    def state(self, shard: ShardId) -> Path:
        return self.states / f"{shard}.json"

    def idle_restarts(self, shard: ShardId) -> Path:
        """Which restarts of the task whose first shard this is have finished nothing."""
        return self.states / f"{shard}.idle.json"

    def usage_of(self, shard: ShardId) -> Path:
        """What the tasks whose first shard this is have held and used."""
        return self.usage / f"{shard}.json"

    @property
    def usage(self) -> Path:
        return self.states / "usage"

    def resubmission(self, shard: str) -> Path:
        """How to continue a shard (its name) whose task SLURM did not requeue."""
        return self.states / f"{shard}.resubmit.json"

    def label_counts(self, subset: str) -> Path:
        """Segments of the whole plan by label, for workers that begin with the rare ones."""
        return self.states / f"{subset}.labels.json"

    @property
    def settings(self) -> Path:
        """One file per config and set of versions that workers ran with, without secrets."""
        return self.states / "settings"

    def hints(self, shard: ShardId) -> Path:
        """What `screen` found out about the videos of a shard."""
        return self.root / "screen" / f"{shard}.jsonl"

    def screen_lease(self, shard: ShardId) -> Path:
        """Held by the `screen` that asks about a shard."""
        return self.states / f"{shard}.screen"

    def lease(self, shard: ShardId) -> Path:
        return self.states / f"{shard}.lease"

    def tmp(self, shard: ShardId) -> Path:
        return self.root / ".tmp" / str(shard)

    @property
    def split_staging(self) -> Path:
        """Where prep makes a new split before it takes effect; its journal is `split_journal`."""
        return self.root / ".tmp" / "split"

    @property
    def split_journal(self) -> Path:
        return self.split_staging / "journal.json"

    @property
    def split_lease(self) -> Path:
        """Held by prep while it exchanges shards and manifests."""
        return self.states / "split.lease"

    @property
    def egress(self) -> Path:
        return self.root / ".egress"

    # What submit writes
    @property
    def logs(self) -> Path:
        """Logs of submitted jobs: `<job name>-<job id>[_<array index>].log`."""
        return self.root / "logs"

    @property
    def submissions(self) -> Path:
        """Scripts of submitted jobs, and `submission.json`."""
        return self.root / ".submit"

    @property
    def submission_json(self) -> Path:
        """The jobs of the latest `submit`."""
        return self.submissions / "submission.json"

    @property
    def submit_lease(self) -> Path:
        """Held while a `submit` submits, or runs its chain itself."""
        return self.submissions / "submit.lease"

    # What merge and report write
    @property
    def merged_parquet(self) -> Path:
        return self.root / "manifest.parquet"

    @property
    def merged_csv(self) -> Path:
        return self.root / "manifest.csv"

    @property
    def summary_json(self) -> Path:
        return self.root / "summary.json"

    @property
    def report_html(self) -> Path:
        return self.root / "report.html"

    def relative(self, path: Path) -> str:
        """`path` as it is written to the manifest: relative to DATADIR, with forward slashes."""
        return path.relative_to(self.root).as_posix()
