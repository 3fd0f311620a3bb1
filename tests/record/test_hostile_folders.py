"""What others may plant or do in `manifests/`, `state/` and `.tmp/`."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.errors import InputRefused, StorageUnusable, UnsafePath
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge.shard_table import read_manifest
from audioset_batch.model import ManifestRow, Segment, SegmentKey
from audioset_batch.plan.swap import finish_or_roll_back
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import LineProblem, ManifestWriter, read_rows, replay
from audioset_batch.record.shard_counts import ShardCounts
from audioset_batch.record.state import ShardState, StateWriter, read_state
from audioset_batch.record.submission import read_submission
from audioset_batch.sharedfs.publish import publish
from audioset_batch.worker.temporary import temporary_folders

SHARD = ShardId("eval_segments", 1)
SEGMENT = Segment("eval_segments", "abcdefghijk", 0, 10_000, ("/m/01",))
ROW = ManifestRow.of(SEGMENT, 1, Status.UNAVAILABLE, reason="removed", detail="$(touch /tmp/pwned)")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the user's that no worker has anything to do with."""
    path = tmp_path / "bashrc"
    path.write_text("# first\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    data = DataDir(tmp_path / "data")
    for folder in (data.manifests, data.states):
        folder.mkdir(parents=True)
    return data


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name("none"))


def hard_link(path: Path, outside: Path) -> None:
    os.link(outside, path)


def fifo(path: Path, _outside: Path) -> None:
    os.mkfifo(path)


def device(path: Path, _outside: Path) -> None:
    if os.geteuid():
        pytest.skip("NOT TESTED WITHOUT ROOT: a device")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


PLANTED = (link, dangling, hard_link, fifo, device)
Plant = Callable[[Path, Path], None]


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("name", ["eval_segments.01.jsonl", "eval_segments.01.jsonl.torn"])
def test_rows_go_into_a_file_of_the_folder_only(data: DataDir, outside: Path, plant: Plant, name: str) -> None:
    if name.endswith(".torn"):
        data.manifest(SHARD).write_bytes(b'{"half')
    plant(data.manifests / name, outside)
    with pytest.raises(UnsafePath, match=name), ManifestWriter(data.manifest(SHARD)) as manifest:
        manifest.append(ROW)
    assert outside.read_text() == "# first\n" and not outside.with_name("none").exists()
    if plant is not hard_link and not name.endswith(".torn"):
        with pytest.raises(UnsafePath):
            replay(data.manifest(SHARD))
        with pytest.raises(UnsafePath):
            read_manifest(data.manifest(SHARD), lambda _: None)


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def shorten(path: Path) -> None:
    os.truncate(path, 5)


def swap_for_a_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


@pytest.mark.parametrize(
    ("change", "word"),
    [(remove, "was removed"), (replace, "was replaced"), (shorten, "was shortened"), (swap_for_a_link, "was replaced")],
)
def test_a_manifest_that_is_not_what_it_was_is_noticed(
    data: DataDir, change: Callable[[Path], None], word: str
) -> None:
    path = data.manifest(SHARD)
    with ManifestWriter(path) as manifest:
        manifest.append(ROW)
        manifest.append(ROW)
        change(path)
        kept = len(list(read_rows(path, lambda _: None))) if path.exists() and not path.is_symlink() else 0
        with pytest.raises(StorageUnusable, match=rf"{path}.* {word}.*run the same command again"):
            manifest.check()
        with pytest.raises(StorageUnusable, match=rf"{path}.* {word}.*run the same command again"):
            manifest.append(ROW)
    if path.is_symlink():
        assert path.resolve().read_bytes().count(b"\n") == 2, "a link is not followed"
    else:
        assert len(list(read_rows(path, lambda _: None))) == kept + 1, "the row is in the file that is there now"


def test_rows_of_a_predecessor_that_come_late_do_not_matter(data: DataDir) -> None:
    with ManifestWriter(data.manifest(SHARD)) as manifest, data.manifest(SHARD).open("ab") as other:
        manifest.append(ROW)
        other.write(b"{}\n")
        other.flush()
        manifest.append(ROW)
    assert len(list(read_rows(data.manifest(SHARD), lambda _: None))) == 2


def with_values(**values: Any) -> bytes:
    return json.dumps(ROW.to_json() | {"status": "ok"} | values).encode() + b"\n"


@pytest.mark.parametrize("path", ["/etc/passwd", "../../home/x", "data/../../x", ".."])
@pytest.mark.parametrize("column", ["audio_path", "video_path", "tar"])
def test_a_row_names_only_files_of_its_data_directory(data: DataDir, column: str, path: str) -> None:
    """Exports and datasets would copy and show whatever else it names."""
    data.manifest(SHARD).write_bytes(with_values(**{column: path}) + with_values(**{column: "data/a..b"}))
    problems: list[LineProblem] = []
    assert [row[column] for row in read_rows(data.manifest(SHARD), problems.append)] == ["data/a..b"]
    assert [problem.line for problem in problems] == [1] and "leads out" in str(problems[0])
    table = read_manifest(data.manifest(SHARD), problems.append)
    assert table.column(column).to_pylist() == ["data/a..b"]


def test_values_of_the_wrong_type_end_nobody(data: DataDir) -> None:
    wrong = {"attempts": "x", "offset": [1], "restart_count": {"a": 1}, "reason": [1], "finished_at": 5}
    data.manifest(SHARD).write_bytes(with_values(**wrong))
    (row,) = read_rows(data.manifest(SHARD))
    assert {row[name] for name in ("attempts", "offset", "restart_count", "reason", "finished_at")} == {None}
    assert [outcome.offset for outcome in replay(data.manifest(SHARD)).values()] == [None]


def test_a_line_without_end_is_one_problem(data: DataDir) -> None:
    with data.manifest(SHARD).open("wb") as file:
        file.write(with_values())
        file.truncate(100 << 20)
        file.seek(0, 2)
        file.write(b"\n" + with_values() + b"[" * 100_000 + b"\n")
    problems: list[LineProblem] = []
    assert len(list(read_rows(data.manifest(SHARD), problems.append))) == 2
    assert [problem.line for problem in problems] == [2, 4]
    os.truncate(data.manifest(SHARD), 1 << 40)
    with pytest.raises(UnsafePath, match="ends with"):
        ManifestWriter(data.manifest(SHARD))


@pytest.mark.parametrize("plant", PLANTED)
def test_a_state_file_is_replaced_and_never_followed(data: DataDir, outside: Path, plant: Plant) -> None:
    plant(data.state(SHARD), outside)
    assert read_state(data.state(SHARD)) is None
    from audioset_batch.sharedfs.lease import Holder

    counts = ShardCounts([SegmentKey(SHARD.subset, f"video_____{n}", 0, 10_000) for n in range(7)], {})
    with StateWriter(data.state(SHARD), counts, every=1, holder=Holder()):
        pass
    state = read_state(data.state(SHARD))
    assert state is not None and state.planned == 7
    assert outside.read_text() == "# first\n"


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"planned": "7"}',
        b'{"planned": -1}',
        b'{"planned": 7, "counts": {"ok": "many"}}',
        b'{"planned": 7, "counts": [1]}',
        b'{"planned": 7, "format": 2}',
        b'{"planned": 7, "lately_seconds": NaN}',
        b'{"planned": 7, "host": 5}',
        b"{}",
        b" " * (2 << 20),
    ],
)
def test_a_state_file_that_is_none_says_nothing(data: DataDir, content: bytes) -> None:
    data.state(SHARD).write_bytes(content)
    assert read_state(data.state(SHARD)) is None


def test_a_state_file_steers_no_terminal(data: DataDir) -> None:
    values = {"planned": 7, "note": "\x1b[2J\x9b\u202e" + "x" * 9999, "reasons": {"\x1b]0;a\x07": 3}}
    data.state(SHARD).write_text(json.dumps(values))
    state = read_state(data.state(SHARD))
    assert isinstance(state, ShardState)
    assert all(text.isprintable() and len(text) <= 300 for text in (state.note, *state.reasons))


@pytest.mark.parametrize("jobs", [[{"role": "array", "job_id": "--user=root"}], [{"role": "x", "job_id": "1"}], [1], 5])
def test_a_submission_names_jobs_and_nothing_else(data: DataDir, jobs: Any) -> None:
    data.submissions.mkdir()
    data.submission_json.write_text(json.dumps({"submitted_at": "now", "config": "", "jobs": jobs}))
    assert read_submission(data) is None


@pytest.mark.parametrize(
    "names",
    [["../.bashrc"], ["/etc/passwd"], ["data/eval_segments/audio/x.flac"], ["manifests/../../x.01.jsonl"], [5], "all"],
)
@pytest.mark.parametrize("what", ["replace", "remove"])
def test_a_journal_moves_and_removes_only_what_a_split_makes(
    data: DataDir, tmp_path: Path, what: str, names: Any
) -> None:
    """A staged `.tmp/.bashrc` would take the place of the one beside a data directory in somebody's home."""
    data.split_staging.mkdir(parents=True)
    (data.split_staging.parent / ".bashrc").write_text("touch /tmp/pwned\n")
    mine = tmp_path / ".bashrc"
    mine.write_text("# mine\n")
    data.split_journal.write_text(json.dumps({"replace": [], "remove": [], what: names}))
    with pytest.raises(InputRefused, match="cannot be ended"):
        finish_or_roll_back(data)
    assert mine.read_text() == "# mine\n"


@pytest.mark.parametrize("name", [".tmp/split/journal.json", ".tmp/split/manifests", ".tmp/split"])
def test_links_in_the_staging_folder_lead_nowhere(data: DataDir, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "manifests").mkdir(parents=True)
    journal = json.dumps({"replace": ["manifests/eval_segments.01.jsonl"], "remove": []})
    for folder in (elsewhere, elsewhere / "manifests"):
        (folder / "journal.json").write_text(journal)
        (folder / "eval_segments.01.jsonl").write_text("mine\n")
    planted = data.root / name
    planted.parent.mkdir(parents=True)
    if name != ".tmp/split":
        (planted.parent / "journal.json").write_text(journal) if name.endswith("manifests") else None
    planted.symlink_to(elsewhere / "journal.json" if name.endswith("json") else elsewhere)
    with pytest.raises((InputRefused, StorageUnusable)):
        finish_or_roll_back(data)
    assert (elsewhere / "manifests" / "eval_segments.01.jsonl").read_text() == "mine\n"
    assert not data.manifest(SHARD).exists()


def test_a_link_in_place_of_the_temporary_folder_is_removed_as_such(data: DataDir, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis").touch()
    data.tmp(SHARD).parent.mkdir()
    data.tmp(SHARD).symlink_to(home)
    with temporary_folders(data, SHARD, "shared") as folders:
        assert folders.staging.stat().st_mode & 0o777 == 0o700
        assert not data.tmp(SHARD).is_symlink()
    assert [path.name for path in home.iterdir()] == ["thesis"]


@pytest.mark.parametrize("plant", PLANTED)
def test_publication_replaces_what_has_the_final_name(data: DataDir, outside: Path, plant: Plant) -> None:
    """A hard-linked clip is legal: the other name keeps the old bytes."""
    final = data.audio(SEGMENT, "flac")
    final.parent.mkdir(parents=True)
    plant(final, outside)
    staging = data.root / "staging"
    staging.mkdir()
    (staging / "x.flac").write_bytes(b"clip")
    publish(staging / "x.flac", final, data.root, staging)
    assert final.read_bytes() == b"clip" and not final.is_symlink() and outside.read_text() == "# first\n"


@pytest.mark.parametrize("plant", [link, dangling, fifo])
def test_only_a_file_is_published(data: DataDir, outside: Path, plant: Plant) -> None:
    staging = data.root / "staging"
    staging.mkdir()
    plant(staging / "x.flac", outside)
    with pytest.raises(UnsafePath):
        publish(staging / "x.flac", data.audio(SEGMENT, "flac"), data.root, staging)


def test_data_on_another_filesystem_behind_a_link_stays_legal(data: DataDir, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    (data.root / "data").symlink_to(big)
    staging = data.root / "staging"
    staging.mkdir()

    def put() -> None:
        (staging / "x.flac").write_bytes(b"clip")
        publish(staging / "x.flac", data.audio(SEGMENT, "flac"), data.root, staging)

    put()
    assert (big / "eval_segments" / "audio" / "abcdefghijk_0_10000.flac").read_bytes() == b"clip"
    if os.geteuid():
        pytest.skip("NOT TESTED WITHOUT ROOT: a link that belongs to another user")
    os.chown(data.root / "data", 12345, 12345, follow_symlinks=False)
    with pytest.raises(UnsafePath, match="user 12345"):
        put()
