"""Whole files or none, and clear words from a failing filesystem."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audioset_batch.errors import StorageUnusable
from audioset_batch.sharedfs import publish as publishing
from audioset_batch.sharedfs.publish import atomic_write_bytes, atomic_write_json, atomic_write_text, publish, storage


def test_replaces_whole_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    atomic_write_json(target, {"a": 1})
    atomic_write_json(target, {"a": "ä"})
    assert json.loads(target.read_text(encoding="utf-8")) == {"a": "ä"}
    assert target.read_text(encoding="utf-8").endswith("}\n")
    assert list(tmp_path.iterdir()) == [target]
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_write_keeps_the_old_file_and_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "summary.json"
    atomic_write_text(target, "old")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_unlink(_self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(publishing.os, "fsync", full)
    with pytest.raises(StorageUnusable, match="No space left on device"):
        atomic_write_text(target, "new")
    assert list(tmp_path.iterdir()) == [target]
    monkeypatch.setattr(Path, "unlink", no_unlink)
    with pytest.raises(StorageUnusable, match="No space left on device"):
        atomic_write_text(target, "new")
    assert target.read_text() == "old"


def test_json_refuses_nan_before_it_touches_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        atomic_write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_limit_on_file_sizes_that_a_real_process_meets(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from audioset_batch.sharedfs.publish import atomic_write_bytes\n"
        "from audioset_batch.errors import StorageUnusable\n"
        "try: atomic_write_bytes(Path(sys.argv[1]), bytes(100_000))\n"
        "except StorageUnusable as error: print(error); sys.exit(75)\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "clip.flac")],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 75, done.stderr
    assert str(tmp_path) in done.stdout
    assert "File too large" in done.stdout
    assert "MB" in done.stdout and "free" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EACCES]
)
def test_errors_of_a_filesystem_are_named(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageUnusable) as caught, storage(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))
    text = str(caught.value)
    assert str(tmp_path / "x") in text
    assert os.strerror(number) in text
    assert ("free at" in text) == (number != errno.EACCES), "how much is free explains no missing permission"
    assert "run the same command again" in text
    assert caught.value.exit_code == 75


def test_a_vanished_root_is_unusable_but_a_missing_file_is_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage(tmp_path):
        (tmp_path / "none").read_bytes()
    with pytest.raises(StorageUnusable, match="No such file"), storage(tmp_path / "root"):
        (tmp_path / "root" / "file").write_bytes(b"")
    with pytest.raises(StorageUnusable):
        atomic_write_bytes(tmp_path / "gone" / "file", b"")


def test_publish_makes_folders_and_replaces(tmp_path: Path) -> None:
    final = tmp_path / "data" / "eval_segments" / "audio" / "x.flac"
    for text in ("one", "two"):
        temporary = tmp_path / "tmp.flac"
        temporary.write_text(text)
        publish(temporary, final, tmp_path)
        assert final.read_text() == text
        assert not temporary.exists()
    assert [p.name for p in final.parent.iterdir()] == ["x.flac"]


def test_publish_across_filesystems(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second filesystem here")
    temporary = other / f"audioset-batch-test-{os.getpid()}"
    temporary.write_bytes(b"clip")
    try:
        publish(temporary, tmp_path / "a" / "clip", tmp_path)
    finally:
        left = temporary.exists()
        temporary.unlink(missing_ok=True)
    assert not left
    assert (tmp_path / "a" / "clip").read_bytes() == b"clip"
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_publish_says_when_the_temporary_file_is_gone(tmp_path: Path) -> None:
    with pytest.raises(StorageUnusable, match="is gone before it could become"):
        publish(tmp_path / "none", tmp_path / "final", tmp_path)


def test_publish_makes_no_new_root_where_it_was_moved_or_unmounted(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp.flac"
    temporary.write_bytes(b"clip")
    root = tmp_path / "root"
    with pytest.raises(StorageUnusable, match="make it available again"):
        publish(temporary, root / "data" / "eval_segments" / "audio" / "x.flac", root)
    assert not root.exists()
    assert temporary.exists()


def test_a_folder_of_clips_on_yet_another_filesystem(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second filesystem here")
    big = other / f"audioset-batch-test-{os.getpid()}"
    big.mkdir()
    try:
        (tmp_path / "data").symlink_to(big)
        temporary = tmp_path / "tmp.flac"
        temporary.write_bytes(b"clip")
        staging = tmp_path / "staging"
        staging.mkdir()
        publish(temporary, tmp_path / "data" / "audio" / "x.flac", tmp_path, staging)
        assert [path.name for path in (big / "audio").iterdir()] == ["x.flac"]
        assert (big / "audio" / "x.flac").read_bytes() == b"clip"
        assert not list(staging.iterdir()) and not temporary.exists()
    finally:
        shutil.rmtree(big)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "none")
    temporary = tmp_path / "tmp.flac"
    temporary.write_bytes(b"clip")
    with pytest.raises(StorageUnusable, match="data: File exists"):
        publish(temporary, tmp_path / "data" / "x.flac", tmp_path)


def test_a_temporary_file_that_somebody_clears_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As happens to a worker that was stopped in the middle of it, whose successor has tidied up."""

    def cleared_meanwhile(_fd: int) -> None:
        for left in tmp_path.glob(".*.tmp"):
            left.unlink()

    monkeypatch.setattr("audioset_batch.sharedfs.publish.os.fsync", cleared_meanwhile)
    with pytest.raises(StorageUnusable, match="something clears that folder"):
        atomic_write_bytes(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []
