"""A config that others can change runs nothing."""

import os
from pathlib import Path

import pytest
import yaml

from audioset_batch.cli import main
from audioset_batch.config import ConfigError, load_config
from audioset_batch.config.powers import powers
from audioset_batch.config.trust import who_can_change
from audioset_batch.config.ytdlp_args import FLAGS, VALUED, powerful_options

POWERFUL = [
    ["--exec", "touch x"],
    ["--exec=touch x"],
    ["--exe", "touch x"],
    ["--netrc-cmd", "touch x"],
    ["--netrc-c=touch x"],
    ["--config-locations", "/tmp/yt.conf"],
    ["--plugin-dirs", "/tmp/plugins"],
    ["--downloader", "/tmp/evil"],
    ["--external-downloader-args", "x"],
    ["--cookies-from-browser", "firefox"],
    ["--cookies", "/home/you/.ssh/id_rsa"],
    ["--cache-dir", "/tmp/cache"],
    ["--ffmpeg-location", "/tmp/evil"],
    ["--use-postprocessor", "Exec"],
    ["-a", "/etc/passwd"],
    ["-a/etc/passwd"],
    ["--load-info-json", "x"],
    ["--print-to-file", "a", "b"],
    ["--alias", "x", "--exec y"],
    ["-t", "mp3"],
    ["--remote-components", "ejs:npm"],
    ["--no-check-certificates"],
    ["-4t", "mp3"],
    ["--js-runtimes", "deno:/tmp/evil.sh"],
    ["--js-runtimes=node:/tmp/evil/node"],
    ["--js-runtimes", "node:node"],
    ["--extractor-args", "youtubepot-bgutilscript:script_path=/tmp/evil.js"],
    ["--extractor-args=youtube:player_client=web;innertube_host=evil.example"],
    ["--extractor-args", "youtube:Innertube-Host=evil.example"],
    ["--format", "18", "--exec", "x"],
    ["--format", "--retries", "--exec", "x"],
    ["--", "--exec"],
]
HARMLESS = [
    ["--no-cache-dir"],
    ["--js-runtimes", "node"],
    ["--extractor-args", "youtube:player_client=mweb;player_skip=js"],
    ["--extractor-args=YouTube:player_client=web"],
    ["-f", "--exec"],
    ["-f251", "-4", "--proxy=http://h:1"],
]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that its group can write, as shared ones are."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2775)
    return folder


def write(folder: Path, settings: object) -> Path:
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(settings))
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("args", POWERFUL, ids=" ".join)
def test_what_runs_programs_needs_a_file_that_nobody_else_can_change(shared: Path, args: list[str]) -> None:
    path = write(shared, {"youtube": {"args": args}})
    with pytest.raises(ConfigError, match=rf"youtube\.args: .* the group of {shared} can write it") as caught:
        load_config(path)
    assert caught.value.exit_code == 2
    assert "--trust-config" in str(caught.value)
    assert load_config(path, trusted=True).youtube.args == tuple(args)
    shared.chmod(0o755)
    assert load_config(path).youtube.args == tuple(args)


@pytest.mark.parametrize("args", HARMLESS, ids=" ".join)
def test_what_is_harmless_is_taken_from_anywhere(shared: Path, args: list[str]) -> None:
    assert load_config(write(shared, {"youtube": {"args": args}})).youtube.args == tuple(args)


@pytest.mark.parametrize(
    "slurm",
    [
        {"setup": ["touch x"]},
        {"modules": ["/tmp/evil"]},
        {"modules": ["gcc/../../tmp/evil"]},
        {"extra": {"export": "BASH_ENV=/tmp/evil"}},
        {"extra": {"task_prolog": "/tmp/evil"}},
    ],
    ids=str,
)
def test_the_same_of_jobs(shared: Path, slurm: dict[str, object]) -> None:
    path = write(shared, {"slurm": slurm})
    with pytest.raises(ConfigError, match=rf"slurm\.{next(iter(slurm))}: "):
        load_config(path)
    harmless = {"modules": ["gcc/12.2", "sox"], "extra": {"constraint": "ib", "mem_per_cpu": "1G"}}
    load_config(write(shared, {"slurm": harmless}))


@pytest.mark.parametrize("key", ["partition", "account", "qos", "mail_user", "extra", "modules"])
def test_no_value_begins_a_line_of_its_own_in_a_script(tmp_path: Path, key: str) -> None:
    value: object = "x\ntouch y"
    value = {"extra": {"comment": value}, "modules": [value]}.get(key, value)
    with pytest.raises(ConfigError, match=r"site.yaml:\d+: .*line break"):
        load_config(write(tmp_path, {"slurm": {key: value}}))
    load_config(write(tmp_path, {"slurm": {"setup": ["if true\nthen\n\techo\nfi"]}}))


def test_what_the_user_types_is_theirs(shared: Path) -> None:
    path = write(shared, {"youtube": {"args": ["--exec", "touch x"]}, "slurm": {"setup": ["touch x"]}})
    with pytest.raises(ConfigError, match=r"2 problems"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"1 problem\n  .*slurm\.setup") as caught:
        load_config(path, ['youtube.args=["--exec","true"]'])
    assert "youtube.args" not in str(caught.value)
    load_config(path, ["youtube={args: [--exec, 'true']}", "slurm.setup=[]"])
    with pytest.raises(ConfigError, match=r"youtube\.args"):
        load_config(path, ["youtube.args.1=true", "slurm.setup=[]"])


def test_who_can_change_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    assert who_can_change(path) == ""
    path.chmod(0o664)
    assert who_can_change(path) == f"the group of {path} can write it"
    path.chmod(0o646)
    assert who_can_change(path) == f"everybody can write {path}"
    path.chmod(0o644)
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "link").symlink_to(path)
    assert "everybody can write" in who_can_change(folder / "link"), "the link can be exchanged"
    folder.chmod(0o1777)
    assert who_can_change(folder / "link") == "", "sticky: nobody else can remove what they do not own"
    (tmp_path / "to-the-link").symlink_to("folder/../folder/link")
    assert who_can_change(tmp_path / "to-the-link") == ""
    folder.chmod(0o770)
    assert "can write it" in who_can_change(tmp_path / "to-the-link")
    (tmp_path / "round").symlink_to("round")
    assert "too many symbolic links" in who_can_change(tmp_path / "round")
    assert "cannot be looked at" in who_can_change(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    path = write(tmp_path, {"slurm": {"setup": ["true"]}})
    os.chown(path, 65534, -1)
    with pytest.raises(ConfigError, match=r"belongs to nobody"):
        load_config(path)
    os.chown(path, 0, -1)
    os.chown(tmp_path, 65534, -1)
    with pytest.raises(ConfigError, match=r"belongs to nobody"):
        load_config(path)


def test_a_runtime_that_nobody_else_can_change_is_taken_by_its_path(shared: Path, tmp_path: Path) -> None:
    for name, folder, taken in (("node", tmp_path, True), ("tool", tmp_path, False), ("node", shared, False)):
        program = folder / name
        program.touch(0o755)
        assert powerful_options(["--js-runtimes", f"node:{program}"]) == (
            [] if taken else [f"--js-runtimes node:{program}"]
        )


def test_powers_are_named_without_values(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, {"youtube": {"args": ["--password", "s3cret", "--netrc-cmd=pass s3cret"]}}))
    (power,) = powers(config)
    assert "--password, --netrc-cmd" in power.what and "s3cret" not in power.what


def test_the_list_is_made_of_options_that_yt_dlp_has() -> None:
    from yt_dlp.options import create_parser

    parser = create_parser()
    groups = [*parser.option_groups, parser]
    known = {
        name: option
        for group in groups
        for option in group.option_list
        for name in option._short_opts + option._long_opts
    }
    assert set(known) >= FLAGS | VALUED
    assert not [name for name in FLAGS if known[name].takes_value()]
    assert not [name for name in VALUED if known[name].nargs != 1]


def test_an_update_needs_a_trusted_config(shared: Path) -> None:
    path = write(shared, {"youtube": {"update": "weekly"}})
    with pytest.raises(ConfigError, match=r"youtube\.update: weekly: installs a newer yt-dlp"):
        load_config(path)
    assert load_config(path, trusted=True).youtube.update == "weekly"
    load_config(write(shared, {"youtube": {"update": "never"}}))


def test_the_proof_of_an_update_runs_nothing_of_a_config_that_others_can_change(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(shared, {"youtube": {"args": ["--netrc-cmd", "touch x"]}})
    assert main(["update-yt-dlp", "--config", str(path)]) == 2
    assert "--netrc-cmd: may run programs" in capsys.readouterr().err
    secret = shared / "proxy"
    secret.write_text("no proxy\n")
    path = write(shared, {"egress": [{"proxy_file": str(secret)}]})
    assert main(["update-yt-dlp", "--config", str(path)]) == 2, "the probe goes through the proxy"
