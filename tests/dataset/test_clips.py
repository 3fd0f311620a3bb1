"""`AudioSetClips`: what comes out is what was put in, from files and tars, here and in other processes."""

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from audioset_batch import AudioSetClips, LabelledClip, load_manifest
from audioset_batch.errors import InputRefused, UsageError
from tests.support.dataset_data import CLASSES, tone


def test_clips_come_back_sample_for_sample(anyhow: Path) -> None:
    clips = AudioSetClips(anyhow, mono=False, seconds=None)
    assert len(clips) == 4
    made = [tone(48000, 2, 1.0), tone(16000, 1, 0.5), tone(16000, 1, 1.0), tone(16000, 1, 2.0)]
    for clip, expected in zip(clips, made, strict=True):
        assert isinstance(clip, LabelledClip)
        assert clip.waveform.dtype == np.float32 and clip.waveform.flags.c_contiguous
        np.testing.assert_array_equal(clip.waveform, expected)
        assert clip.frames == expected.shape[1]
    first = clips[0]
    assert (first.subset, first.ytid, first.start_seconds, first.end_seconds) == (
        "eval_segments",
        "dog48stereo",
        30,
        40,
    )
    assert first.sample_rate == 48000
    assert clips[-1].ytid == clips[np.int64(3)].ytid == "dogagain016"
    with pytest.raises(IndexError):
        clips[4]


def test_labels_are_multi_hot_over_all_classes(anyhow: Path) -> None:
    clips = AudioSetClips(anyhow)
    assert clips.label_names == tuple(name for _, name in CLASSES)
    expected = [[0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]
    assert [clip.labels.tolist() for clip in clips] == expected
    assert [clips.labels_of(i).tolist() for i in range(4)] == expected
    assert clips[0].labels.dtype == np.float32
    assert clips.label_counts().tolist() == [1, 1, 3, 1]
    np.testing.assert_allclose(clips.class_weights(), [1, 1, 1 / 3, 1])
    some = AudioSetClips(anyhow, labels="Cat")
    assert [clip.ytid for clip in some] == ["dogandcat16"]
    np.testing.assert_allclose(some.class_weights(), [0, 0, 0.5, 0.5])


def test_one_shape_for_batches(merged: Path) -> None:
    clips = AudioSetClips(merged, sample_rate=16000, seconds=1.0)
    assert {clip.waveform.shape for clip in clips} == {(1, 16000)}
    assert [clip.frames for clip in clips] == [16000, 8000, 16000, 16000]
    assert not clips[1].waveform[:, 8000:].any()
    np.testing.assert_array_equal(clips[3].waveform, tone(16000, 1, 2.0)[:, :16000])
    np.testing.assert_allclose(
        AudioSetClips(merged, seconds=None)[0].waveform, tone(48000, 2, 1.0).mean(axis=0, keepdims=True), atol=1e-7
    )


def test_resampling_keeps_the_sound(merged: Path) -> None:
    clip = AudioSetClips(merged, "eval", sample_rate=16000, seconds=None, mono=False)[0]
    assert clip.waveform.shape == (2, 16000)
    inner = slice(800, -800)  # the filter needs some samples at both ends
    np.testing.assert_allclose(clip.waveform[:, inner], tone(16000, 2, 1.0)[:, inner], atol=2e-4)


def double(waveform: np.ndarray) -> np.ndarray:
    return waveform * 2


def test_transform_has_the_last_word(merged: Path) -> None:
    plain, changed = AudioSetClips(merged), AudioSetClips(merged, transform=double)
    np.testing.assert_array_equal(changed[2].waveform, plain[2].waveform * 2)
    assert changed[2].frames == plain[2].frames


def test_rows_of_ones_own_choice(anyhow: Path) -> None:
    table = load_manifest(anyhow)
    clips = AudioSetClips(anyhow, rows=table[table["duration_seconds"] >= 1].iloc[::-1])
    assert [clip.ytid for clip in clips] == ["dogagain016", "dogandcat16", "dog48stereo"]
    assert [clip.ytid for clip in AudioSetClips(anyhow, "eval", rows=table)] == ["dog48stereo", "-man16mono1"]
    with pytest.raises(UsageError, match="rows: 2 of 6 have no clip"):
        AudioSetClips(anyhow, rows=load_manifest(anyhow, status=None))
    with pytest.raises(UsageError, match="columns missing: subset"):
        AudioSetClips(anyhow, rows=table[["ytid"]])


def test_without_a_merged_table(unmerged: Path) -> None:
    with pytest.warns(UserWarning, match="does not exist yet") as caught:
        clips = AudioSetClips(unmerged)
    assert caught[0].filename == __file__, "the warning points at the caller"
    assert [clip.ytid for clip in clips] == ["dog48stereo", "-man16mono1", "dogandcat16", "dogagain016"]


def test_no_clip_is_no_error(merged: Path) -> None:
    clips = AudioSetClips(merged, "unbalanced")
    assert list(clips) == []
    assert clips.class_weights().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_other_processes_read_the_same(anyhow: Path, start: str) -> None:
    clips = AudioSetClips(anyhow, transform=double)
    with ProcessPoolExecutor(2, multiprocessing.get_context(start)) as pool:
        for here, there in zip(clips, pool.map(clips.__getitem__, range(len(clips))), strict=True):
            np.testing.assert_array_equal(there.waveform, here.waveform)
            np.testing.assert_array_equal(there.labels, here.labels)
            assert there.ytid == here.ytid


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_loader_of_torch_makes_batches(anyhow: Path, start: str) -> None:
    data = pytest.importorskip("torch.utils.data", reason="NOT TESTED HERE: needs torch (`pip install torch`), 1 GB")
    clips = AudioSetClips(anyhow, sample_rate=16000, seconds=1.0)
    loader = data.DataLoader(clips, batch_size=3, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    assert [tuple(batch.waveform.shape) for batch in batches] == [(3, 1, 16000), (1, 1, 16000)]
    assert [tuple(batch.labels.shape) for batch in batches] == [(3, 4), (1, 4)]
    there = [(ytid, wave.numpy()) for batch in batches for ytid, wave in zip(batch.ytid, batch.waveform, strict=True)]
    for clip, (ytid, waveform) in zip(clips, there, strict=True):
        assert clip.ytid == ytid
        np.testing.assert_array_equal(waveform, clip.waveform)


def test_pickles_are_small(merged: Path) -> None:
    """Clips are not in it, and neither are the columns that nobody needs to read them."""
    assert len(pickle.dumps(AudioSetClips(merged))) < 8000


def test_a_missing_file_says_which(merged: Path) -> None:
    clips = AudioSetClips(merged)
    path = merged / "data/eval_segments/audio/dog48stereo_30000_40000.flac"
    whole = path.read_bytes()
    path.write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(InputRefused, match=r"dog48stereo_30000_40000\.flac: expected audio that libsndfile reads"):
        clips[0]
    path.unlink()
    with pytest.raises(InputRefused, match=r"dog48stereo_30000_40000\.flac: No such file"):
        clips[0]
    path.write_bytes(whole)
    assert clips[0].ytid == "dog48stereo"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate": 0}, "sample_rate=0: expected Hz above 0"),
        ({"seconds": 0}, "seconds=0: expected more than 0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"labels": "Dgo"}, "did you mean Dog"),
        ({"subset": "evil"}, "choose from eval_segments"),
    ],
)
def test_wrong_arguments(merged: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AudioSetClips(merged, **arguments)  # type: ignore[arg-type]


def test_wrong_places(merged: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a data directory, found a file"):
        AudioSetClips(merged / "manifest.parquet")
    with pytest.raises(UsageError, match="does not exist"):
        AudioSetClips(tmp_path / "nowhere")
    classes = merged / "class_labels_indices.csv"
    classes.write_text('index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    with pytest.raises(InputRefused, match="lacks /m/0bt9lr"):
        AudioSetClips(merged)


def test_the_front_door_opens_when_knocked_at() -> None:
    code = (
        "import sys, audioset_batch\n"
        "assert 'pandas' not in sys.modules and 'audioset_batch.dataset' not in sys.modules\n"
        "from audioset_batch import *\n"
        "assert AudioSetClips.__name__ == 'AudioSetClips' and set(audioset_batch.__all__) <= set(dir(audioset_batch))\n"
        "assert not {'torch', 'yt_dlp', 'av', 'keras'} & set(sys.modules)\n"
        "try: audioset_batch.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "module 'audioset_batch' has no attribute 'nothing'\n", done.stderr
