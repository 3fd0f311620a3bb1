"""What must hold of a data directory in tars: the manifest and the tars say the same, byte by byte."""

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import soundfile

from audioset_batch.layout import DataDir
from audioset_batch.record.clip_files import read_clip, row_stem
from audioset_batch.record.manifest import read_rows
from audioset_batch.standin import Outcome
from tests.support.loopback import Project
from tests.support.loopback.project import check_clip


def all_rows(data: Path) -> list[dict[str, Any]]:
    """Every row of every manifest."""
    layout = DataDir(data)
    return [row for shard in layout.recorded_shards() for row in read_rows(layout.manifest(shard))]


def ok_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with a clip."""
    return [row for row in rows if row["status"] == "ok"]


def tars_of(data: Path, pattern: str = "*.tar") -> list[Path]:
    """All tars below `data`."""
    return sorted((data / "data").glob(f"*/tar/{pattern}"))


def samples_in(tars: Iterable[Path]) -> Counter[str]:
    """How often each key stands in the tars, by an ordinary tar reader; each sample is whole."""
    counts: Counter[str] = Counter()
    for path in tars:
        if path.suffix == ".open" and not path.stat().st_size:
            continue  # the disk was full at its first sample
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, ending = member.name.partition(".")
                content = archive.extractfile(member)
                assert content is not None and len(content.read()) == member.size
                counts[key] += ending == "json"
    return counts


def check_tars(project: Project, tmp: Path) -> None:
    """Every planned segment is settled; each clip is once in a closed tar, whole and exact; nothing else is there."""
    table = project.merge()
    assert set(table.status) <= {"ok", "unavailable"}
    planned = project.rows()
    ok = [record for record in table.to_dict("records") if record["status"] == "ok"]
    assert {record["ytid"] for record in ok} == {
        ytid for _, ytid in planned if project.youtube.catalog.get(ytid).outcome is Outcome.OK
    }
    for record in ok:
        row = planned[record["subset"], record["ytid"]]
        assert (record["audio_path"], record["video_path"]) == ("", "")
        check_row(project.data, record)
        clip = tmp / "clip.flac"
        clip.write_bytes(read_clip(project.data, record))
        check_clip(clip, row, project.youtube.catalog.get(record["ytid"]).seconds)
        assert soundfile.info(clip).frames == record["frames"]
    assert tars_of(project.data, "*.open") == []
    assert samples_in(tars_of(project.data)) == Counter(row_stem(record) for record in ok)
    assert not list((project.data / "data").rglob("*.flac"))
    assert not [path for path in project.data.rglob("*.tmp") if path.is_file()]


def check_row(data: Path, row: dict[str, Any]) -> None:
    """What a row points at is there, under its name or still open, and is what it was."""
    audio = read_clip(data, row)
    assert hashlib.sha256(audio).hexdigest() == row["audio_sha256"]
    assert len(audio) == row["audio_bytes"]
    facts = json.loads(read_clip(data, row, "json"))
    assert (facts["ytid"], facts["audio_sha256"]) == (row["ytid"], row["audio_sha256"])
