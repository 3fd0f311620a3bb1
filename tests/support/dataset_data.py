"""Small data directories with real clips, recorded by the real writers: in files, in tars, merged or not."""

import io
from pathlib import Path

import numpy as np
import soundfile

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import ManifestWriter
from audioset_batch.record.tars import OpenTar, encode_sample, tar_name

CLASSES = (
    ("/m/09x0r", "Speech"),
    ("/m/05zppz", "Male speech, man speaking"),
    ("/m/0bt9lr", "Dog"),
    ("/m/01yrx", "Cat"),
)
SPEECH, MAN, DOG, CAT = (mid for mid, _ in CLASSES)

# (subset, ytid, labels, clip: (Hz, channels, seconds), or the reason why there is none)
SEGMENTS = [
    ("eval_segments", "dog48stereo", (DOG,), (48000, 2, 1.0)),
    ("eval_segments", "-man16mono1", (SPEECH, MAN), (16000, 1, 0.5)),
    ("eval_segments", "gone_video0", (DOG, CAT), "removed"),
    ("eval_segments", "not_tried_0", (CAT,), ""),
    ("balanced_train_segments", "dogandcat16", (DOG, CAT), (16000, 1, 1.0)),
    ("balanced_train_segments", "dogagain016", (DOG,), (16000, 1, 2.0)),
]


def tone(rate: int, channels: int, seconds: float) -> np.ndarray:
    """float32 (channels, frames), channel c: 200 * (c + 1) Hz, exact in 16 bits."""
    time = np.arange(round(rate * seconds)) / rate
    waves = [0.5 * np.sin(2 * np.pi * 200 * (channel + 1) * time) for channel in range(channels)]
    return (np.round(np.stack(waves) * 32768) / 32768).astype(np.float32)


def flac(waveform: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform.T, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def make_data_dir(root: Path, layout: str) -> Path:
    """Plan, clips and manifests of `SEGMENTS`, one shard per subset; not merged. `layout`: files, tars, open tars."""
    data = DataDir(root)
    root.mkdir()
    names = [f'{number},{mid},"{name}"' for number, (mid, name) in enumerate(CLASSES)]
    data.class_labels_csv.write_text("\n".join(["index,mid,display_name", *names]) + "\n")
    for subset in dict.fromkeys(row[0] for row in SEGMENTS):
        shard = ShardId(subset, 1)
        planned = [
            (Segment(subset, ytid, 30_000, 40_000, labels), clip) for s, ytid, labels, clip in SEGMENTS if s == subset
        ]
        lines = [f'{segment.ytid}, 30.000, 40.000, "{",".join(segment.labels)}"' for segment, _ in planned]
        data.shard_csv(shard).write_text("\n".join(["# a", f"# num_segs={len(lines)}", "# YTID", *lines]) + "\n")
        final = data.tar_dir(subset) / tar_name(shard, 0)
        final.parent.mkdir(parents=True)
        tar = OpenTar(final) if layout != "files" else None
        with ManifestWriter(data.manifest(shard)) as manifest:
            for segment, clip in planned:
                if isinstance(clip, str):
                    if clip:
                        manifest.append(ManifestRow.of(segment, 1, Status.UNAVAILABLE, reason=clip))
                    continue
                rate, channels, seconds = clip
                content = flac(tone(*clip), rate)
                path = data.audio(segment, "flac")
                if tar is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                    where = {"audio_path": data.relative(path)}
                else:
                    offset = tar.append(encode_sample([(path.name, content), (f"{path.stem}.json", b"{}")]))
                    where = {"tar": data.relative(final), "offset": offset}
                media = {"sample_rate": rate, "channels": channels, "duration_seconds": seconds}
                manifest.append(ManifestRow.of(segment, 1, Status.OK, **where, **media))
        if tar is not None:
            if layout == "tars":
                tar.publish()
            tar.close()
    return root
