import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audioset_batch.config import Config, ConfigError, load_config
from audioset_batch.config.document import default_yaml, markdown

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text)
    return path


def test_default_yaml_lists_every_key_with_its_default() -> None:
    path = ROOT / "configs" / "default.yaml"
    assert load_config(path) == Config()
    assert path.read_text() == default_yaml(), "run `make reference`"


def test_reference_is_made_from_the_code() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == markdown(), "run `make reference`"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_all_problems_at_once_with_line_and_choices(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "audio: {format: flacc, bit_dept: 16}\nwurker: {}\negress:\n  - name: a\n    videos_per_hour: -3\n"
        "worker:\n  threads: many\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "5 problems" in text
    assert f"{path}:1: audio.format" in text and "'flac', 'wav', 'ogg' or 'mp3'" in text
    assert f"{path}:1: audio.bit_dept: unknown key; did you mean bit_depth?" in text
    assert f"{path}:2: wurker: unknown key; did you mean worker?" in text
    assert f"{path}:5: egress.0.videos_per_hour" in text
    assert f"{path}:7: worker.threads" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("audio: {format: flac, bit_depth: 32}", "32 is not possible with format flac"),
        ("audio: {format: mp3, sample_rate: 96000}", "not possible with format mp3"),
        ("egress: []", "at least 1 item"),
        ("egress: [{name: a}, {name: a}]", "come twice: a"),
        ("egress: [{proxy: 'proxy.example.org'}]", "not a proxy URL"),
        ("source: {subsets: [eval]}", "choose from eval_segments"),
        ("worker: {threads: 1}\nworker: {threads: 2}", "given twice"),
        ("- a\n- b", "expected `key: value` lines"),
        ("a: [", "not valid YAML"),
        ("data_dir: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("slurm: {time: soon}", "slurm.time"),
        ("youtube: {wordings: {away: removed}}", "expected text of 5 characters or more"),
        ("youtube: {wordings: {it is away: holiday}}", "'it is away' cannot mean 'holiday': choose from removed, "),
        ("youtube: {wordings: {it is away: timeout}}", "cannot mean 'timeout'"),
        ("youtube: {wordings: {12345: removed}}", "expected text of 5 characters or more"),
    ],
)
def test_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match="config ") as caught:
        load_config(write(tmp_path, text))
    assert expected in str(caught.value)


DURATIONS = (
    "worker.burst",
    "worker.segment_timeout",
    "worker.grace_seconds",
    "egress.0.max_wait",
    "slurm.signal_seconds",
)


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize(
    "text",
    ["-5m", "30 minutes", "1h30", "nan", "inf", "1e99", "-1", "", "true", "30M", "[1]", "30m30", ".5h"],
)
def test_durations_that_are_none_name_the_forms_that_are(key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"{key}={text}"])
    assert re.search(r"expected seconds >=? 0 and <= \d+, or with a unit: 90s, 30m, 1\.5h", str(caught.value))


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1.5h", 5400), ("2000s", 2000), ("1500", 1500), ("2e3", 2000)]
)
def test_durations(text: str, seconds: int) -> None:
    keys = ("worker.burst", "worker.hold_seconds", "egress.0.window_seconds", "egress.0.pause_seconds")
    config = load_config(None, ["worker.hold_seconds=5", *(f"{key}={text}" for key in keys[:1] + keys[2:])])
    assert (config.worker.burst, config.egress[0].window_seconds) == (seconds, seconds)
    assert load_config(None, [f"worker.hold_seconds={text}"]).worker.hold_seconds == seconds


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("egress.0.videos_per_hour=300/h", "expected number > 0 and <= 1000000 or null (got '300/h')"),
        ("egress.0.videos_per_hour=1e99", "expected number > 0 and <= 1000000 or null (got '1e99')"),
        ("egress.0.videos_per_hour=yes", "expected number > 0 and <= 1000000 or null (got True)"),
        ("egress.0.videos_per_hour=1e-300", "days (videos_per_hour: 1e-300, window_seconds: 3600, worker.burst: 0)"),
        ("egress.0.pause_factor=1e300", "expected number >= 1 and <= 1000 (got '1e300')"),
        ("probe.recent=100000000000000000000", "expected integer >= 2 and <= 100000"),
        ("worker.max_clip_bytes=200M", "expected whole number of bytes >= 65536 (got '200M')"),
        ("output.tar_bytes=1.5", "expected whole number of bytes >= 1000000 (got 1.5)"),
        ("slurm.mem=4 GB", "expected auto or a number and K, M, G or T: 600M, 4G (got '4 GB')"),
        ("slurm.time=24:00:00", 'in quotes: "24:00:00", "1-12:00:00", or minutes: "90" (got 86400)'),
        ("audio.sample_rate=44.1k", "expected keep or integer >= 8000 and <= 192000 (got '44.1k')"),
        ("egress.0.name=a b", "expected up to 64 letters, digits"),
        ("worker=fast", "worker: expected `key: value` lines (got 'fast')"),
        ("egress=direct", "expected a list of sections (got 'direct')"),
    ],
)
def test_sizes_rates_and_texts_name_what_is_expected(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    assert expected in str(caught.value)


def test_a_proxy_password_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "egress: [{proxy: 'user:hunter2@proxy'}]"))
    assert "hunter2" not in str(caught.value)


def test_lists_replace_and_other_keys_keep_their_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "egress: [{name: b, concurrent: 2}]\nyoutube: {player_skip: []}\n"))
    assert [egress.name for egress in config.egress] == ["b"]
    assert config.egress[0].videos_per_hour == 300
    assert config.youtube.player_skip == ()


def test_set_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "audio: {sample_rate: 16000}\negress: [{name: b}]\n")
    config = load_config(path, ["audio.sample_rate=keep", "egress.0.videos_per_hour=null", "worker.threads=3"])
    assert config.audio.sample_rate == "keep"
    assert config.egress[0].videos_per_hour is None
    assert config.worker.threads == 3


@pytest.mark.parametrize("override", ["audio", "audio.x=1", "egress.7.name=a", "=3", "a..b=1", "audio.format=["])
def test_bad_set(override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(None, [override])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_any_text_is_a_config_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert isinstance(load_config(path), Config)
    except ConfigError as error:
        assert str(path) in str(error)
