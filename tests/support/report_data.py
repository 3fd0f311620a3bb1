"""A made-up data set as workers leave it: shards, manifests, settings and pauses, of any size, in a second."""

import csv
import datetime
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge import merge
from audioset_batch.model import COLUMNS

if TYPE_CHECKING:
    from audioset_batch.demo.learn_report import Material

Planned = tuple[str, float, float, tuple[str, ...]]
BEGIN = datetime.datetime(2026, 3, 2, 17, 5, tzinfo=datetime.UTC).timestamp()
LOSSES = {
    "removed": 30, "account_terminated": 22, "private": 20, "copyright": 8, "nonexistent": 9, "geo_blocked": 3,
    "login_required": 5, "segment_past_end": 1, "live": 0.3,
}  # fmt: skip
TROUBLES = {"timeout": 5, "media_forbidden": 3, "http_error": 2}
CLASSES = {f"/m/0{n:03d}": f"Sound {n}" for n in range(40)}
PAUSES = {
    "campus": [(5.2, 0.25, "HTTP Error 429"), (5.6, 0.5, "HTTP Error 429"), (31.0, 1.0, "bot check")],
    "proxy-a": [
        (18.4, 0.25, "bot check"),
        (18.8, 0.5, "bot check"),
        (19.6, 1.0, "bot check"),
        (21.0, 2.0, "bot check"),
    ],
    "proxy-b": [],
}
"""Per egress: hours after the begin, length in hours, why."""


def ontology(names: Mapping[str, str]) -> list[dict[str, object]]:
    """Two abstract roots; the sounds in groups of four below their first one; one of them below both roots."""
    mids = list(names)
    nodes: list[dict[str, object]] = []
    tops: list[str] = []
    for first in range(0, len(mids), 4):
        group = mids[first : first + 4]
        tops.append(group[0])
        nodes += [{"id": mid, "name": names[mid], "child_ids": group[1:] if mid == group[0] else []} for mid in group]
    half = len(tops) // 2
    roots = (("/x/a", "Animal sounds", tops[: half + 1]), ("/x/b", "Sounds of things", tops[half:]))
    return [*({"id": mid, "name": name, "child_ids": below} for mid, name, below in roots), *nodes]


def plan(count: int, seed: int, mids: Sequence[str]) -> list[Planned]:
    """Segments whose labels are as uneven as AudioSet's."""
    rng = random.Random(seed)
    weights = [1 / (n + 1) ** 1.3 for n in range(len(mids))]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    rows = []
    for _ in range(count):
        labels = tuple(dict.fromkeys(rng.choices(mids, weights, k=rng.randrange(1, 4))))
        rows.append(("".join(rng.choices(alphabet, k=11)), 30.0, 40.0, labels))
    return rows


def read_released(path: Path) -> list[Planned]:
    """A CSV as released."""
    with path.open() as file:
        rows = csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True)
        return [(row[0], float(row[1]), float(row[2]), tuple(row[3].split(","))) for row in rows]


def write_dataset(
    root: Path,
    subsets: Mapping[str, Sequence[Planned]],
    *,
    names: Mapping[str, str] = CLASSES,
    seed: int = 1,
    done: float = 1.0,
    hours: float = 60.0,
    detail: str = "",
) -> DataDir:
    """Write shards and manifests; the first `done` of each subset has been tried, evenly over `hours`."""
    data = DataDir(root)
    root.mkdir(parents=True, exist_ok=True)
    for folder in (data.manifests, data.settings):
        folder.mkdir(parents=True)
    with data.class_labels_csv.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["index", "mid", "display_name"])
        rows.writerows([index, mid, name] for index, (mid, name) in enumerate(names.items()))
    rng = random.Random(seed)
    clumsy = {mid: rng.choice((0.0, 0.0, 0.0, 0.05, 0.3)) for mid in names}
    for name, planned in subsets.items():
        shard = ShardId(name, 1)
        lines = [f'{y}, {s:.3f}, {e:.3f}, "{",".join(labels)}"' for y, s, e, labels in planned]
        data.shard_csv(shard).write_text("\n".join(["# made up", "#", "# YTID", *lines]) + "\n")
        tried = planned[: round(done * len(planned))]
        with data.manifest(shard).open("w") as file:
            for row in _rows(tried, name, rng, clumsy, hours, detail):
                file.write(json.dumps({**dict.fromkeys(COLUMNS), **row}) + "\n")
    _write_surroundings(data)
    return data


def _rows(
    planned: Sequence[Planned], subset: str, rng: random.Random, clumsy: Mapping[str, float], hours: float, detail: str
) -> Iterable[dict[str, object]]:
    moments = sorted(_moment(rng, hours) for _ in planned)
    for (ytid, start, end, labels), (moment, egress) in zip(planned, moments, strict=True):
        lost = 0.22 + max((clumsy.get(mid, 0.0) for mid in labels), default=0.0)
        row: dict[str, object] = {
            "subset": subset, "shard": 1, "ytid": ytid, "start_seconds": start, "end_seconds": end,
            "labels": ",".join(labels),
            "egress": egress, "attempts": 1, "requests": 1, "fetched_bytes": 3_000, "restart_count": 0, "host": "n1",
            "elapsed_seconds": round(rng.lognormvariate(0.4, 0.4), 3), "ytdlp_version": "2026.8.20", "detail": "",
            "finished_at": datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="milliseconds"),
        }  # fmt: skip
        dice = rng.random()
        if dice < lost:
            row |= {
                "status": "unavailable",
                "reason": rng.choices(list(LOSSES), list(LOSSES.values()))[0],
                "detail": detail,
            }
        elif dice < lost + 0.006:
            trouble = rng.choices(list(TROUBLES), list(TROUBLES.values()))[0]
            row |= {"status": "failed", "reason": trouble, "attempts": 4, "requests": 9, "detail": detail}
        else:
            row |= _clip(rng, start, end)
        yield row


def _moment(rng: random.Random, hours: float) -> tuple[float, str]:
    while True:
        egress = rng.choices(list(PAUSES), (5, 3, 3))[0]
        at = rng.uniform(0, hours) if rng.random() < 0.8 else rng.triangular(0, hours, hours / 3)
        if not any(begin <= at < begin + length for begin, length, _ in PAUSES[egress]):
            return BEGIN + at * 3600, egress


def _clip(rng: random.Random, start: float, end: float) -> dict[str, object]:
    seconds = end - start if rng.random() < 0.97 else round(rng.uniform(0.5, end - start), 3)
    silent = rng.random() < 0.012
    rms = (
        None if silent and rng.random() < 0.7 else round(rng.gauss(-78, 4) if silent else min(-3, rng.gauss(-22, 7)), 2)
    )
    peak = None if rms is None else round(min(0.0, rms + rng.uniform(6, 22)), 2)
    return {
        "status": "ok", "reason": "", "duration_seconds": seconds, "sample_rate": 48000,
        "channels": rng.choice((1, 2, 2, 2)),
        "frames": round(48000 * seconds), "source_sample_rate": rng.choice((44100, 48000, 48000)),
        "format_id": rng.choice(("251", "251", "251", "140")), "audio_bytes": round(seconds * rng.uniform(55e3, 110e3)),
        "audio_sha256": "0" * 64, "silent": silent, "rms_dbfs": rms, "peak_dbfs": peak,
        "requests": rng.choice((3, 3, 3, 4, 5)), "fetched_bytes": round(rng.lognormvariate(12.6, 0.35)),
        "elapsed_seconds": round(rng.lognormvariate(1.1, 0.5), 3),
    }  # fmt: skip


def _write_surroundings(data: DataDir) -> None:
    for name, pauses in PAUSES.items():
        folder = data.egress / name
        folder.mkdir(parents=True)
        lines = []
        for epoch, (begin, length, why) in enumerate(pauses, 1):
            at = BEGIN + begin * 3600
            common = {"epoch": epoch, "until": at + length * 3600, "kind": why, "detail": f"{why}: made up"}
            lines += [
                {**common, "event": "paused", "at": at},
                {**common, "event": "reopened", "at": at + length * 3600},
            ]
        (folder / "pauses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {
        "data_dir": str(data.root), "audio": {"format": "flac", "sample_rate": 16000},
        "egress": [{"name": name, "videos_per_hour": 300.0} for name in PAUSES],
    }  # fmt: skip
    versions = {"audioset-batch": "0.1.0", "yt-dlp": "2026.8.20", "python": "3.12.4"}
    values = {"first_used_at": "2026-03-02T17:05:00+00:00", "versions": versions, "config": config}
    (data.settings / "0123456789abcdef.json").write_text(json.dumps(values))


def write_ontology(root: Path, names: Mapping[str, str]) -> None:
    """Put the ontology of `names` into a data directory."""
    DataDir(root).ontology_json.write_text(json.dumps(ontology(names)))


HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'`$title &amp; ]]>"
"""What comes from outside may be this."""


def hostile_dataset(root: Path) -> DataDir:
    """Markup wherever something comes from outside."""
    mid = "/m/000"
    names = {**CLASSES, mid: HOSTILE}
    data = write_dataset(root, {"eval_segments": plan(60, 3, list(CLASSES)[:8])}, names=names, detail=HOSTILE)
    write_ontology(root, names)
    (manifest,) = data.manifests.iterdir()
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        row["ytdlp_version"] = HOSTILE
        row["egress"] = f"campus{HOSTILE}"
        if row["status"] == "ok":
            row["format_id"] = HOSTILE
        else:
            row["reason"] = HOSTILE
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (pauses,) = (data.egress / "campus").glob("pauses.jsonl")
    pauses.write_text(pauses.read_text().replace("HTTP Error 429", json.dumps(HOSTILE)[1:-1]))
    (settings,) = data.settings.iterdir()
    values = json.loads(settings.read_text())
    values["config"][HOSTILE] = HOSTILE
    values["versions"][HOSTILE] = HOSTILE
    settings.write_text(json.dumps(values))
    merge(root)
    return data


def learning_material(folder: Path) -> "Material":
    """What the page of the learning demo is made of, for two classes and one clip."""
    from audioset_batch.demo.learn_report import LearnedClip, Material

    (folder / "evaluation").mkdir()
    with (folder / "evaluation" / "evaluation_classes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("index", "mid", "display_name", "positives", "ap", "auc", "d_prime"))
        writer.writerow((0, "/m/1", "Tick & <tock>", 2, "0.5", "0.75", "0.9"))
        writer.writerow((1, "/m/2", "Hum", 0, "", "", ""))
    (folder / "train_log.csv").write_text("step,loss\n5,2.0\n10,1.0\n")
    (folder / "validation_log.csv").write_text("step,map\n10,0.4\n")
    counts = {"planned": 5, "ok": 4, "unavailable": 1, "failed": 0}
    return Material(
        evaluation={"map": 0.5, "auc": 0.75, "d_prime": None, "classes": 2, "clips": 4},
        evaluation_dir=folder / "evaluation",
        train_dir=folder,
        embedding={
            "weights": "random weights, seed 0", "device": "jax cpu", "embedded": 4, "damaged": 0, "too_short": 0
        },
        summary={"subsets": {"eval_segments": counts}},
        chance=0.25,
        clips=[LearnedClip("-abcdefghij", ("Hum",), (("Hum", 0.9), ("Tick & <tock>", 0.1)))],
        seconds={"download": 3.0},
        training=["--model=LogisticModel"],
    )  # fmt: skip
