"""How far log-mel examples after soxr VHQ are from those after resampy, which upstream uses.

Not part of the tests: resampy brings numba. In an environment of its own:
`pip install numpy soxr resampy` and `PYTHONPATH=. python benchmarks/resampler_deviation.py`. Prints JSON.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import resampy
import soxr

from audioset_batch.learn.vggish.frontend import log_mel


def sounds(rate: int) -> dict[str, np.ndarray]:
    """Five seconds each at `rate` Hz."""
    rng = np.random.default_rng(0)
    time = np.arange(5 * rate) / rate
    noise = rng.standard_normal(time.size)
    spectrum = np.fft.rfft(noise)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 1)), time.size)
    return {
        "tone 1 kHz": 0.5 * np.sin(2 * np.pi * 1000 * time),
        "chirp 50 Hz to 20 kHz": 0.5 * np.sin(2 * np.pi * (50 * time + 19950 / 10 * time**2)),
        "white noise": 0.1 * noise,
        "pink noise": 0.3 * pink / np.abs(pink).max(),
    }


def main() -> None:
    result = {}
    for rate in (44100, 48000):
        for name, sound in sounds(rate).items():
            reference = log_mel(resampy.resample(sound, rate, 16000))
            row = {}
            for quality in ("HQ", "VHQ"):
                ours = log_mel(soxr.resample(sound, rate, 16000, quality=quality))
                frames = min(len(ours), len(reference))
                difference = np.abs(ours[:frames] - reference[:frames])
                row[quality] = {"mean": round(float(difference.mean()), 5), "max": round(float(difference.max()), 4)}
            result[f"{name}, {rate} Hz"] = row
    versions = {"resampy": resampy.__version__, "soxr": soxr.__version__}
    sys.stdout.write(json.dumps({**versions, "deviation": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
