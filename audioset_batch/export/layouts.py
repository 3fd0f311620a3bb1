"""From one layout to the other: the target is another data directory with the same plan and its own manifests.

Like a worker, an export records a clip after it has published it. A killed export therefore continues where it stopped,
and several exports may run at the same time on different shards.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from audioset_batch.errors import InputRefused
from audioset_batch.export.source import ExportReport, as_row, checked_files, folder_for, planned_rows, shards_of
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Segment
from audioset_batch.plan.labels import load_class_names
from audioset_batch.plan.swap import watch_split
from audioset_batch.reasons import Status
from audioset_batch.record.clip_files import AUDIO_ENDINGS
from audioset_batch.record.manifest import RETRY, ManifestWriter, Outcome, latest_rows, read_rows, replay, row_key
from audioset_batch.record.tars import publish_left_open_tars
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.sharedfs.publish import make_folders, publish, replacing, storage
from audioset_batch.worker.tar_sink import TarSink, sample_json

Layout = Literal["files", "webdataset"]

_log = logging.getLogger(__name__)


def export_layout(
    root: Path,
    to: Path,
    layout: Layout,
    *,
    tar_bytes: int,
    subsets: Sequence[str] | None = None,
    task: int | None = None,
) -> ExportReport:
    """Write the clips of `root` in `layout` to the data directory `to`, after checking the SHA-256 of each.

    Args:
        root: The data directory, in either layout or both.
        to: Another folder. An earlier export in it is continued.
        layout: The layout to write.
        tar_bytes: Size of the tars.
        subsets: Subsets to export; None for all.
        task: Number of the shards to export; None for all.

    Raises:
        InputRefused: there are no such shards, or `to` is of another plan or layout, or no export.
        UsageError: `to` is in `root`.
        PlanChanging: prep is splitting `root`, or did so during the export.
        ShardHeld: another export works on one of the shards.
        StorageUnusable: `to` cannot be written; run the same command again.
    """
    source = DataDir(root)
    unchanged = watch_split(source)
    shards = shards_of(source, subsets, task)
    target = DataDir(folder_for(to, root))
    try:
        _copy_plan(source, target, shards)
    except FileNotFoundError:
        unchanged()
        raise
    report = ExportReport()
    for shard in shards:
        with contextlib.ExitStack() as stack:
            with storage(target.root):
                target.states.mkdir(exist_ok=True)
            lease = stack.enter_context(Lease.acquire(target.lease(shard), Holder.current()))
            staging = stack.enter_context(_staging(target, shard))
            _Export(source, target, shard, lease, staging, report, unchanged).run(layout, tar_bytes)
        _log.info("%s: %d clips so far, %d of them new", shard, report.clips + report.present, report.clips)
    return report


def _copy_plan(source: DataDir, target: DataDir, shards: Sequence[ShardId]) -> None:
    names = [source.class_labels_csv, source.ontology_json]
    names += [source.segments_csv(subset) for subset in {shard.subset for shard in shards}]
    with storage(target.root):
        there = {path.name for path in target.root.iterdir() if not path.name.startswith(".")}
    if there - {path.name for path in names} and not target.subsets_present():
        raise InputRefused(f"{target.root}: expected an empty folder or an earlier export, found {min(there)}")
    if target.usage.exists():
        raise InputRefused(f"{target.root} is a data directory that workers write to: export to another folder")
    for path in [*(path for path in names if path.exists()), *map(source.shard_csv, shards)]:
        copy = target.root / path.name
        if not copy.exists():
            with replacing(copy) as temporary:
                shutil.copyfile(path, temporary)
        elif copy.stat().st_size != path.stat().st_size or copy.read_bytes() != path.read_bytes():
            raise InputRefused(f"{copy} differs from {path}: export to an empty folder, or to one of the same split")


@contextlib.contextmanager
def _staging(target: DataDir, shard: ShardId) -> Any:
    folder = target.tmp(shard)
    with storage(target.root):
        shutil.rmtree(folder, ignore_errors=True)
        make_folders(folder, target.root)
        staging = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield staging
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Export:
    """The export of one shard."""

    def __init__(
        self,
        source: DataDir,
        target: DataDir,
        shard: ShardId,
        lease: Lease,
        staging: Path,
        report: ExportReport,
        unchanged: Callable[[], None],
    ) -> None:
        self._source = source
        self._target = target
        self._shard = shard
        self._lease = lease
        self._staging = staging
        self._report = report
        self._unchanged = unchanged
        self._names = load_class_names(source.class_labels_csv)

    def run(self, layout: Layout, tar_bytes: int) -> None:
        path = self._target.manifest(self._shard)
        known = replay(path)
        rows = latest_rows(read_rows(path)).values()
        if any(row["status"] == Status.OK and bool(row.get("tar")) != (layout == "webdataset") for row in rows):
            raise InputRefused(f"{self._target.root} holds an export in the other layout: export to another folder")
        done = {_version(row) for row in rows}
        fence = self._lease.predecessor_may_live
        sink: TarSink | None = None
        if layout == "webdataset":
            sink = TarSink(
                self._target,
                self._shard,
                known,
                self._staging,
                tar_bytes=tar_bytes,
                names=self._names,
                fence=fence,
            )
            lost = sink.lost
        else:
            lost = frozenset(publish_left_open_tars(self._target, self._shard, fence=fence))
        try:
            with ManifestWriter(path) as manifest:
                for segment, row in planned_rows(self._source, self._shard, self._unchanged):
                    if _version(row) in done and segment.key not in lost:
                        self._report.present += row["status"] == Status.OK
                    else:
                        self._one(segment, row, known, manifest, sink)
            if sink is not None:
                self._lease.check()
                sink.finish()
        finally:
            if sink is not None:
                sink.close()

    def _one(
        self,
        segment: Segment,
        row: dict[str, Any],
        known: Mapping[Any, Outcome],
        manifest: ManifestWriter,
        sink: TarSink | None,
    ) -> None:
        if row["status"] != Status.OK:
            self._lease.check()
            if segment.key in known and known[segment.key].ok:
                manifest.append(as_row(row, status=Status.PENDING, reason=RETRY))
            manifest.append(as_row(row))
            self._report.other_rows += 1
            return
        try:
            files = checked_files(self._source, row)
        except InputRefused as error:
            self._report.problems.append(str(error))
            return
        self._lease.check()
        where = self._publish_files(segment, files) if sink is None else self._add(segment, row, files, sink)
        self._lease.check()
        manifest.append(as_row(row, **({"audio_path": "", "video_path": "", "tar": "", "offset": None} | where)))
        self._report.clips += 1

    def _add(
        self, segment: Segment, row: dict[str, Any], files: Sequence[tuple[str, bytes]], sink: TarSink
    ) -> dict[str, Any]:
        stem = self._target.stem(segment)
        members = [(f"{stem}.{ending}", content) for ending, content in files]
        return sink.add(stem, members, sample_json(segment, row, self._names))

    def _publish_files(self, segment: Segment, files: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
        columns = {}
        for ending, content in reversed(files):
            audio = ending in AUDIO_ENDINGS
            final = self._target.audio(segment, ending) if audio else self._target.video(segment, ending)
            temporary = self._staging / final.name
            with storage(self._target.root):
                temporary.write_bytes(content)
            publish(temporary, final, self._target.root, self._staging)
            columns["audio_path" if audio else "video_path"] = self._target.relative(final)
        return columns


def _version(row: dict[str, Any]) -> tuple[Any, ...]:
    """A key that differs between the rows of a segment."""
    return (row_key(row), row["status"], row.get("finished_at") or "")
