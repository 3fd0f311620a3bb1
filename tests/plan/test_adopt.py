"""Taking over a tree that audiosetdl made."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from audioset_batch.errors import InputRefused, ShardHeld
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import SegmentKey
from audioset_batch.plan.adopt import adopt, parse_clip_name
from audioset_batch.record.manifest import read_rows, replay
from audioset_batch.sharedfs.lease import Holder, Lease

SUBSET = "eval_segments"


def tone(seconds: float, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(np.arange(int(seconds * 8000)) * 0.3)).astype(np.float32)


def write_video(path: Path) -> None:
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for n in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), n * 20, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def tree(tmp_path: Path) -> DataDir:
    data = DataDir(tmp_path)
    ids = ["--a_b_c_d_e", "-----------", "_1_2_3_4_5_", "silent00000", "broken00000", "novideo0000", "absent00000"]
    for number in (1, 2):
        rows = [f'{ytid}, 1.500, 3.500, "/m/09x0r"\n' for ytid in ids[number - 1 :: 2]]
        data.shard_csv(ShardId(SUBSET, number)).write_text(f"# a\n# num_segs={len(rows)}\n# b\n" + "".join(rows))
    audio, video = tmp_path / "data" / SUBSET / "audio", tmp_path / "data" / SUBSET / "video"
    audio.mkdir(parents=True)
    video.mkdir()
    for ytid in ids[:3]:
        soundfile.write(audio / f"{ytid}_1500_3500.flac", tone(2), 8000)
    write_video(video / "--a_b_c_d_e_1500_3500.mp4")
    soundfile.write(audio / "silent00000_1500_3500.wav", tone(2, 0.0), 8000)
    whole = (audio / "--a_b_c_d_e_1500_3500.flac").read_bytes()
    (audio / "broken00000_1500_3500.flac").write_bytes(whole[: len(whole) // 2])
    (audio / "outside0000_1500_3500.flac").write_bytes(whole)
    (audio / "--a_b_c_d_e_0_3500.flac").write_bytes(whole)
    (audio / "notes.txt").write_text("x")
    write_video(video / "novideo0000_1500_3500.mp4")
    return data


def test_adopt(tree: DataDir) -> None:
    files = {path: path.read_bytes() for path in (tree.root / "data").rglob("*") if path.is_file()}
    report = adopt(tree.root, 2)
    prefix = f"data/{SUBSET}/audio/"
    assert (report.adopted, report.recorded) == (4, 0)
    assert [path for path, _ in report.broken] == [prefix + "broken00000_1500_3500.flac"]
    assert report.outside == [prefix + "--a_b_c_d_e_0_3500.flac", prefix + "outside0000_1500_3500.flac"]
    assert report.unnamed == [prefix + "notes.txt"]
    assert report.video_only == [f"data/{SUBSET}/video/novideo0000_1500_3500.mp4"]
    rows = {row["ytid"]: row for shard in tree.recorded_shards() for row in read_rows(tree.manifest(shard))}
    row = rows["--a_b_c_d_e"]
    assert (row["status"], row["detail"], row["shard"], row["labels"]) == ("ok", "adopted", 1, "/m/09x0r")
    assert (row["frames"], row["sample_rate"], row["channels"], row["duration_seconds"]) == (16_000, 8000, 1, 2.0)
    assert row["audio_path"] == prefix + "--a_b_c_d_e_1500_3500.flac" and row["silent"] is False
    assert row["video_bytes"] == (tree.root / row["video_path"]).stat().st_size
    assert row["peak_dbfs"] == pytest.approx(-6.02, abs=0.02) and row["rms_dbfs"] == pytest.approx(-9.03, abs=0.02)
    assert rows["silent00000"]["silent"] is True and rows["-----------"]["shard"] == 2
    assert {path: path.read_bytes() for path in files} == files

    again = adopt(tree.root, 1)
    assert (again.adopted, again.recorded, len(again.broken)) == (0, 4, 1)
    assert sum(len(list(read_rows(tree.manifest(shard)))) for shard in tree.recorded_shards()) == 4


def test_a_video_that_is_cut_off_is_broken(tree: DataDir) -> None:
    """Its index lies in front, so that it opens and many of its pictures decode."""
    video = tree.root / "data" / SUBSET / "video" / "--a_b_c_d_e_1500_3500.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) - 200])
    report = adopt(tree.root, 1)
    assert f"data/{SUBSET}/video/{video.name}" in [path for path, _ in report.broken]
    assert report.adopted == 3


def test_a_held_shard_is_left_alone(tree: DataDir) -> None:
    with (
        Lease.acquire(tree.lease(ShardId(SUBSET, 2)), Holder.current(), 60),
        pytest.raises(ShardHeld, match=r"eval_segments\.02"),
    ):
        adopt(tree.root, 1)
    assert replay(tree.manifest(ShardId(SUBSET, 2))) == {}
    assert adopt(tree.root, 1).recorded > 0


def test_without_shards(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="no shards"):
        adopt(tmp_path, 1)


@pytest.mark.parametrize(
    ("name", "ytid", "times"),
    [
        ("--a_b_c_d_e_1500_3500.flac", "--a_b_c_d_e", (1500, 3500)),
        ("___________0_10000.FLAC", None, None),
        ("____________0_10000.FLAC", "___________", (0, 10000)),
        ("short_0_10000.flac", None, None),
        ("abcdefghijk_0.5_10000.flac", None, None),
        ("abcdefghijk_0_10000", None, None),
        ("abcdefghijk_-1_10000.flac", None, None),
    ],
)
def test_names_are_read_from_the_right(name: str, ytid: str | None, times: tuple[int, int] | None) -> None:
    parsed = parse_clip_name(name, SUBSET)
    if ytid is None or times is None:
        assert parsed is None
    else:
        assert parsed == (SegmentKey(SUBSET, ytid, *times), "flac")
