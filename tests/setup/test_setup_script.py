"""setup.sh, with a pip that records: what it installs, when it does nothing, what it says when something is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
# What the script itself calls; no apt, conda, uv or sox among them.
TOOLS = (
    "bash",
    "cat",
    "cksum",
    "dirname",
    "flock",
    "grep",
    "id",
    "ln",
    "ls",
    "mkdir",
    "paste",
    "rm",
    "sed",
    "sort",
    "touch",
    "tr",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout whose environment exists; pip and this package write their arguments to `pip.log`."""
    root = tmp_path / "a checkout"
    (root / ".venv/bin").mkdir(parents=True)
    for name in ("setup.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(CHECKOUT / name, root)
    (root / ".venv/pyvenv.cfg").touch()
    fake_python(root / ".venv/bin/python", root / "pip.log")
    (root / ".venv/bin/pip").write_text(f'#!/bin/sh\n\'\'\'exec\' "{root}/.venv/bin/python" "$0" "$@"\n')
    have_yt_dlp(root)
    (tmp_path / "tools").mkdir()
    for name in TOOLS:
        if found := shutil.which(name):
            (tmp_path / "tools" / name).symlink_to(found)
    return root


def fake_python(path: Path, log: Path) -> None:
    recorded = f'"-m pip" | "-m audioset_batch") shift 2; echo "$*" >>"{log}" ;;'
    path.write_text(f'#!/bin/sh\ncase "$1 $2" in {recorded} *) exec "{sys.executable}" "$@" ;; esac\n')
    path.chmod(0o755)


def setup(project: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{project.parent}/tools", "HOME": str(project.parent)}
    command = ["bash", str(project / "setup.sh"), *args]
    return subprocess.run(
        command,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def pip_calls(project: Path) -> list[str]:
    log = project / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def have_yt_dlp(project: Path, version: str | None = None) -> None:
    """Let the environment have this yt-dlp, "" for none, by default the one of constraints.txt."""
    packages = project / ".venv/lib/python3.11/site-packages"
    shutil.rmtree(packages, ignore_errors=True)
    if version != "":
        (packages / f"yt_dlp-{version or pinned(project)}.dist-info").mkdir(parents=True)


def pinned(project: Path) -> str:
    lines = (project / "constraints.txt").read_text().splitlines()
    return next(line.removeprefix("yt-dlp==") for line in lines if line.startswith("yt-dlp=="))


def test_second_run_does_nothing(project: Path) -> None:
    assert setup(project).returncode == 0
    assert len(pip_calls(project)) == 1
    assert pip_calls(project)[0].endswith(f"-c {project}/.venv/.constraints.txt -e {project}")
    done = setup(project)
    assert (done.returncode, done.stdout) == (0, "setup: ready: .venv/bin/audioset-batch\n")
    assert len(pip_calls(project)) == 1


def test_a_new_environment_gets_the_newest_yt_dlp(project: Path) -> None:
    have_yt_dlp(project, "")
    setup(project)
    constraints = (project / ".venv/.constraints.txt").read_text()
    assert "numpy==" in constraints
    assert "yt-dlp" not in constraints
    (_, newest) = pip_calls(project)
    assert newest.endswith("--upgrade --upgrade-strategy only-if-needed yt-dlp[default]"), "and what it needs"
    assert "-c " not in newest


def test_an_environment_keeps_its_yt_dlp(project: Path) -> None:
    have_yt_dlp(project, "2999.1.1")
    done = setup(project)
    assert f"yt-dlp is 2999.1.1; tested was {pinned(project)}" in done.stdout
    assert not any("--upgrade" in call for call in pip_calls(project))


def test_without_a_registry_it_stays_and_that_is_said(project: Path) -> None:
    have_yt_dlp(project, "")
    python = project / ".venv/bin/python"
    python.write_text(python.read_text().replace('echo "$*"', 'case "$*" in *--upgrade*) exit 1;; esac; echo "$*"'))
    done = setup(project)
    assert done.returncode == 0
    assert "no registry answers (see above): yt-dlp stays at" in done.stderr


def test_pinned_where_the_newest_cannot_be_had(project: Path) -> None:
    python = project / ".venv/bin/python"
    python.write_text(python.read_text().replace('echo "$*"', 'case "$*" in *.venv/.cons*) exit 1;; esac; echo "$*"'))
    done = setup(project)
    assert done.returncode == 0
    assert f"trying with yt-dlp {pinned(project)}, the tested one" in done.stderr
    assert pip_calls(project)[-1].endswith(f"-c {project}/constraints.txt -e {project}")


def test_a_failed_install_does_not_replace_the_yt_dlp_that_workers_use(project: Path) -> None:
    have_yt_dlp(project, "2999.1.1")
    python = project / ".venv/bin/python"
    python.write_text(python.read_text().replace('echo "$*"', 'case "$*" in *.venv/.cons*) exit 1;; esac; echo "$*"'))
    done = setup(project)
    assert done.returncode == 1 and "yt-dlp stays at 2999.1.1" in done.stderr
    assert pip_calls(project) == []


def test_pinned(project: Path) -> None:
    setup(project, "--pinned")
    install, undo = pip_calls(project)
    assert install.endswith(f"-c {project}/constraints.txt -e {project}")
    assert undo == "update-yt-dlp --undo"
    setup(project, "--pinned")
    assert len(pip_calls(project)) == 2


def test_pinned_after_newest_and_back(project: Path) -> None:
    setup(project)
    setup(project, "--pinned")
    assert pip_calls(project)[1:] == ["update-yt-dlp --undo"], "it has the pinned one"
    setup(project)
    assert pip_calls(project)[2:] == ["update-yt-dlp"], "beside, for workers may be running"
    have_yt_dlp(project, "2999.1.1")
    done = setup(project, "--pinned")
    assert f"REPLACING yt-dlp 2999.1.1 by {pinned(project)} in place" in done.stderr
    assert pip_calls(project)[3].endswith(f"-c {project}/constraints.txt -e {project}")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(project: Path, name: str) -> None:
    setup(project)
    with (project / name).open("a") as file:
        file.write("# changed\n")
    setup(project)
    assert len(pip_calls(project)) == 2


def test_extras_add_up_and_stay(project: Path) -> None:
    setup(project, "--with", "test,learn")
    setup(project, "--with", "learn")
    setup(project)
    assert len(pip_calls(project)) == 1
    setup(project, "--with=javascript")
    assert [call.rpartition("[")[2] for call in pip_calls(project)] == ["learn,test]", "javascript,learn,test]"]


def test_failed_installation_is_tried_again(project: Path) -> None:
    python = project / ".venv/bin/python"
    whole = python.read_text()
    python.write_text(whole.replace("echo", "exit 1; echo"))
    failed = setup(project)
    assert failed.returncode == 1
    assert "pip could not install the package" in failed.stderr
    python.write_text(whole)
    assert setup(project).returncode == 0
    assert len(pip_calls(project)) == 1


def test_update(project: Path) -> None:
    setup(project, "--pinned")
    assert setup(project, "--update-yt-dlp").returncode == 0
    assert setup(project, "--update-yt-dlp", "--pre").returncode == 0
    assert pip_calls(project)[2:] == ["update-yt-dlp", "update-yt-dlp --pre"]
    setup(project)
    assert len(pip_calls(project)) == 4


def test_update_says_with_its_status_that_it_failed(project: Path) -> None:
    python = project / ".venv/bin/python"
    python.write_text(python.read_text().replace('echo "$*"', "exit 75; echo"))
    assert setup(project, "--update-yt-dlp").returncode == 75


def test_moved_checkout_gets_a_new_environment(project: Path) -> None:
    setup(project)
    moved = project.rename(project.parent / "moved")
    done = setup(moved, "--python", "python-that-is-not-there")
    assert done.returncode == 1
    assert "no Python 3.11 to 3.13" in done.stderr  # so it set out to make one


def test_missing_python_names_what_gets_it(project: Path) -> None:
    shutil.rmtree(project / ".venv")
    done = setup(project, "--python", "python-that-is-not-there")
    assert done.returncode == 1
    for said in ("in python-that-is-not-there", "apt-get install python3-venv", "module load python", "conda create"):
        assert said in done.stderr
    assert not (project / ".venv").exists()


def test_foreign_folder_is_not_removed(project: Path) -> None:
    (project / ".venv/pyvenv.cfg").unlink()
    (project / ".venv/bin/pip").unlink()
    done = setup(project)
    assert done.returncode == 1
    assert "no virtual environment: move it away" in done.stderr
    assert (project / ".venv/bin/python").exists()


def test_missing_sox_is_named_and_fatal_only_when_asked(project: Path) -> None:
    done = setup(project)
    assert done.returncode == 0
    for command in ("apt-get install sox", "conda install -c conda-forge sox", "module load sox"):
        assert command in done.stderr
    assert setup(project, "--require-sox").returncode == 1


def test_sox_from_conda(project: Path) -> None:
    conda = project.parent / "tools" / "mamba"
    conda.write_text(
        '#!/bin/sh\nwhile [ "$1" != --prefix ]; do shift; done\n'
        'mkdir -p "$2/bin"; echo "#!/bin/sh" >"$2/bin/sox"; /bin/chmod 755 "$2/bin/sox"\n'
    )
    conda.chmod(0o755)
    done = setup(project, "--require-sox")
    assert done.returncode == 0, done.stderr
    assert os.access(project / ".venv/bin/sox", os.X_OK)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--with", "tset"], "unknown extra: tset (there are test, learn, javascript, webdataset)"),
        (["--with"], "--with needs a value"),
        (["--upgrade"], "unknown argument: --upgrade"),
        (["--pre"], "--pre needs --update-yt-dlp"),
        (["--pinned", "--update-yt-dlp"], "exclude each other"),
    ],
)
def test_wrong_usage(project: Path, args: list[str], said: str) -> None:
    done = setup(project, *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert not pip_calls(project)
