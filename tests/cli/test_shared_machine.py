"""What a command leaves on a machine that others use as well."""

import os
from pathlib import Path

import pytest

from audioset_batch.cli import main
from audioset_batch.config.schema import Egress
from audioset_batch.sharedfs import folders as sharedfs
from audioset_batch.status.logs import _tail

ROWS = "# Segments csv\n# num_ytids=2\n# YTID, start_seconds, end_seconds, positive_labels\n"


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022])
def test_nothing_is_writable_for_the_group(tmp_path: Path, mask: int) -> None:
    """With umask 002, which many sites set, a data directory would be open to the whole group of its parent."""
    source = tmp_path / "lists"
    source.mkdir()
    rows = "".join(f'{name * 11}, 0.000, 10.000, "/m/09x0r"\n' for name in "ab")
    (source / "eval_segments.csv").write_text(ROWS + rows)
    (source / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    lab = tmp_path / "lab"
    lab.mkdir()
    lab.chmod(0o2775)
    before = os.umask(mask)
    try:
        data = lab / "data"
        assert main(["prep", str(data), "--base-url", str(source), "--subsets", "eval_segments", "--split", "2"]) == 0
        assert main(["merge", str(data), "--allow-pending"]) == 0
    finally:
        os.umask(before)
    made = [data, *data.rglob("*")]
    assert len(made) > 8
    assert [str(path) for path in made if path.stat().st_mode & 0o022] == []


def test_a_user_nobody_knows_is_not_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("trusted_owners: [no-such-user]\n")
    assert main(["worker", "--config", str(config), "--data-dir", str(tmp_path), "--task", "1"]) == 2
    assert "trusted_owners: no-such-user is not a user" in capsys.readouterr().err


def test_links_of_trusted_owners_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        pytest.skip("NOT TESTED WITHOUT ROOT: a link that belongs to another user")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    with pytest.raises(sharedfs.UnsafePath, match="12345"):
        sharedfs.Folder(tmp_path / "link", may_be_link=True)
    monkeypatch.setattr(sharedfs, "_trusted", frozenset({0}))
    sharedfs.trust_owners([12345])
    with sharedfs.Folder(tmp_path / "link", may_be_link=True) as folder:
        folder.make_folder("made")
    assert (tmp_path / "real" / "made").is_dir()


def test_folders_that_cannot_be_listed_can_be_passed(tmp_path: Path) -> None:
    """As homes of other people often are: mode 711."""
    inner = tmp_path / "home" / "shared"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o111)
    try:
        child = os.fork()
        if child == 0:
            try:
                if not os.geteuid():
                    os.chown(inner, 12345, 12345)
                    for folder in (tmp_path, *list(tmp_path.parents)[:-1]):
                        folder.chmod(folder.stat().st_mode | 0o111)
                    os.setgid(12345)
                    os.setuid(12345)
                with sharedfs.Folder(inner) as folder:
                    os.close(folder.create("file"))
                    os._exit(0 if folder.names() == ["file"] else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        inner.parent.chmod(0o755)


def test_a_log_cannot_steer_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\x1b[2J\x1b]0;x\x07\xff\ttwo\nthree\n")
    lines = _tail(log, 5)
    assert all(line.isprintable() for line in lines) and lines[-1] == "three"


def test_a_budget_is_that_of_its_window() -> None:
    assert Egress(videos_per_hour=10, window_seconds=60).per_hour == 600
    assert Egress(videos_per_hour=None).per_hour is None
