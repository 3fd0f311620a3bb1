"""Other versions of the installed yt-dlp: wheels, with all that it needs, or folders with nothing but a version."""

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

from audioset_batch.youtube.versions import Home

NEWER = "2099.1.2"
BROKEN = "2099.1.3"
_DAMAGE = "\nraise RuntimeError('broken on purpose')\n"


def pip_environment(folder: Path) -> dict[str, str]:
    """Lets pip find the wheels of `folder` and nothing else; compiling them is left to who imports them."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_COMPILE": "1",
    }


def write_wheels(folder: Path, version: str) -> None:
    """Put a yt-dlp that calls itself `version` into `folder`, with all that it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _needed(Requirement("yt-dlp[default]")):
        _repack(folder, name, version if name == "yt-dlp" else None)


def write_broken_wheel(folder: Path, version: str) -> None:
    """The same yt-dlp alone, as another version whose YouTube extractor cannot be imported."""
    _repack(folder, "yt-dlp", version, broken=True)


def add_version(home: Home, version: str, *, current: bool = True) -> Path:
    """A folder with a yt-dlp that has nothing but its version."""
    package = home.folder / version / "yt_dlp"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "version.py").write_text(f"__version__ = {version!r}\n")
    for folder in (package, package.parent):
        folder.chmod(0o755)
    if current:
        home.pointer.write_text(json.dumps({"version": version}))
        home.pointer.chmod(0o644)
    return package.parent


def _needed(requirement: Requirement) -> set[str]:
    """The names of a package and of everything that it requires here."""
    found = {requirement.name}
    for line in importlib.metadata.requires(requirement.name) or ():
        wanted = Requirement(line)
        extras = requirement.extras or {""}
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
            found |= _needed(wanted)
    return found


def _repack(folder: Path, name: str, version: str | None, *, broken: bool = False) -> None:
    found = importlib.metadata.distribution(name)
    tag = re.search(r"^Tag: (\S+)", found.read_text("WHEEL") or "", re.MULTILINE)
    assert tag is not None
    title = re.sub(r"[-_.]+", "_", found.metadata["Name"])
    info = f"{title}-{version or found.version}.dist-info"
    record = []
    with zipfile.ZipFile(folder / f"{title}-{version or found.version}-{tag[1]}.whl", "w") as wheel:
        for file in found.files or ():
            path = Path(str(file.locate()))
            if file.parts[0] == ".." or file.suffix == ".pyc" or file.name in ("RECORD", "INSTALLER", "REQUESTED"):
                continue
            inside = file.as_posix()
            data = path.read_bytes()
            if ".dist-info/" in inside:
                inside = f"{info}/{inside.partition('.dist-info/')[2]}"
            if version is not None:
                if inside.endswith(("METADATA", "yt_dlp/version.py")):
                    pattern = rb"^(Version: |__version__ = ')[^\n']+"
                    data, count = re.subn(pattern, rb"\g<1>" + version.encode(), data, count=1, flags=re.MULTILINE)
                    assert count == 1, inside
                if broken and inside == "yt_dlp/extractor/youtube/__init__.py":
                    data += _DAMAGE.encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{inside},sha256={digest},{len(data)}")
            wheel.writestr(inside, data)
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
