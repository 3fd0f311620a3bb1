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
