"""Writes the mean level of every clip in ten octave bands to an .npz file, as input for a first model.

    python examples/octave_bands.py DATADIR OUT.npz

The file has `ytids` (clips,), `levels` (clips, 10) in dB re full scale and `labels` (clips, classes), 0 or 1.
"""

import sys

import numpy as np

from audioset_batch import AudioSetClips

RATE = 16_000
EDGES = 8_000 / 2.0 ** np.arange(10, -1, -1)
"""Hz; the ten bands lie between 7.8 Hz and half the sample rate."""


def octave_levels(waveform: np.ndarray) -> np.ndarray:
    """Power in each band.

    Args:
        waveform: (1, frames), full scale 1.0, at `RATE`.

    Returns:
        (10,), dB re full scale.
    """
    power = np.abs(np.fft.rfft(waveform[0])) ** 2 / len(waveform[0]) ** 2
    frequencies = np.fft.rfftfreq(len(waveform[0]), 1 / RATE)
    band = np.searchsorted(EDGES, frequencies, side="right") - 1
    inside = (band >= 0) & (band < 10)
    return 10 * np.log10(np.bincount(band[inside], power[inside], minlength=10) + 1e-12)


def main(data_dir: str, out: str) -> None:
    """Read every clip once; memory holds one waveform at a time."""
    clips = AudioSetClips(data_dir, sample_rate=RATE)
    rows = [(clip.ytid, octave_levels(clip.waveform), clip.labels) for clip in clips]
    if not rows:
        sys.exit(f"{data_dir}: expected at least one clip, found none")
    ytids, levels, labels = zip(*rows, strict=True)
    np.savez(out, ytids=np.array(ytids), levels=np.stack(levels), labels=np.stack(labels))
    print(f"{len(rows):,} clips of {len(clips.label_names)} classes -> {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/octave_bands.py DATADIR OUT.npz")
    main(sys.argv[1], sys.argv[2])
