"""Made-up sounds: the same for the same name, another for each kind, and what a source then holds."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from audioset_batch.standin.catalog import Catalog, Video
from audioset_batch.standin.sounds import KINDS, PERIOD_SECONDS, SoundSignal, sound_name
from audioset_batch.standin.synth import SourceSpec, synthesise

RATE = 16_000


def samples(name: str) -> np.ndarray:
    return SoundSignal(RATE, name).slots(0, 2 * PERIOD_SECONDS)


def share(name: str, low: float, high: float) -> float:
    """Part of the power between two frequencies, Hz."""
    heard = samples(name)
    power = np.abs(np.fft.rfft(heard)) ** 2
    hertz = np.fft.rfftfreq(len(heard), 1 / RATE)
    return float(power[(hertz >= low) & (hertz < high)].sum() / power.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_says_all_and_a_period_has_no_seam(kind: str) -> None:
    signal = SoundSignal(RATE, sound_name((kind,), 3))
    whole = signal.slots(0, 4 * PERIOD_SECONDS)
    assert np.array_equal(whole[: len(whole) // 2], whole[len(whole) // 2 :])
    assert np.array_equal(signal.slots(5, 2), whole[5 * RATE // 2 : 7 * RATE // 2])
    assert np.array_equal(samples(f"{kind}.3"), samples(f"{kind}.3"))
    assert not np.array_equal(samples(f"{kind}.3"), samples(f"{kind}.4"))
    assert np.abs(whole).max() <= 1 and 0.02 < whole.std() < 0.3


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("beep", 800, 1250),
        ("chirp", 1200, 6600),
        ("hum", 90, 800),
        ("noise", 480, 7100),
        ("rumble", 35, 190),
        ("siren", 400, 1500),
        ("tick", 1500, 4000),
        ("whistle", 2500, 3600),
    ],
)
def test_every_kind_has_its_place_in_the_spectrum(kind: str, low: float, high: float) -> None:
    assert all(share(f"{kind}.{variant}", low, high) > 0.9 for variant in range(5))


def test_two_kinds_sound_at_once() -> None:
    assert share("rumble+whistle.0", 35, 190) > 0.02 and share("rumble+whistle.0", 2500, 3600) > 0.02


@pytest.mark.parametrize("name", ["", "siren", "siren.x", "bark.1", "siren+bark.1", "../siren.1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected kinds"):
        SoundSignal(RATE, name)
    if name:
        with pytest.raises(ValueError, match="no sound"):
            SourceSpec(251, 5.0, sound=name)


def test_a_source_holds_its_sound(tmp_path: Path) -> None:
    path = synthesise(tmp_path, SourceSpec(251, 5.0, channels=1, bit_rate=64_000, sound="whistle.1"))
    with av.open(str(path)) as source:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in source.decode(audio=0)])
    assert 4.9 < len(heard) / 48_000 < 5.2
    power = np.abs(np.fft.rfft(heard)) ** 2
    peak = power.argmax() * 48_000 / len(heard)
    assert 2500 < peak < 3600
    assert path != synthesise(tmp_path, SourceSpec(251, 5.0, channels=1, bit_rate=64_000, sound="whistle.2"))


def test_a_catalogue_keeps_the_sound(tmp_path: Path) -> None:
    Catalog.of(Video("AAAAAAAAAAA", sound="hum.1")).save(tmp_path / "catalog.json")
    assert Catalog.load(tmp_path / "catalog.json").get("AAAAAAAAAAA").sound == "hum.1"
