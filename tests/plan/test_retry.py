"""Which recorded segments are asked for again, why, and what that costs."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from audioset_batch.cli import main
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.changed import Changed
from audioset_batch.plan.doubtful import Doubtful
from audioset_batch.plan.retry import Known
from audioset_batch.record.manifest import replay

SHARD = ShardId("eval_segments", 1)
WRITTEN = "2026-09-10T12:00:00+00:00"


def make_data(root: Path, rows: list[dict[str, Any]]) -> DataDir:
    """One shard; its rows as an earlier version wrote them, with the first columns alone."""
    data = DataDir(root)
    data.manifests.mkdir(parents=True)
    ids = [f"video_{number:05d}" for number in range(len(rows))]
    lines = ["# a", f"# num_segs={len(rows)}", "# b", *(f'{ytid}, 0.000, 10.000, "/m/09x0r"' for ytid in ids)]
    data.shard_csv(SHARD).write_text("\n".join(lines) + "\n")
    written = [
        {"subset": SHARD.subset, "ytid": ytid, "start_seconds": 0.0, "end_seconds": 10.0}
        | {"status": "unavailable", "finished_at": WRITTEN, "egress": "direct", "ytdlp_version": "2026.8.19"}
        | row
        for ytid, row in zip(ids, rows, strict=True)
    ]
    data.manifest(SHARD).write_text("".join(json.dumps(row) + "\n" for row in written))
    return data


def note(data: DataDir, name: str, first_used_at: str, **config: Any) -> None:
    """What a worker notes of its config when it starts."""
    data.settings.mkdir(parents=True, exist_ok=True)
    values = {"first_used_at": first_used_at, "versions": {}, "config": config}
    (data.settings / f"{name}.json").write_text(json.dumps(values))


def pending(data: DataDir) -> list[int]:
    found = replay(data.manifest(SHARD))
    return [int(key.ytid[-5:]) for key, outcome in found.items() if outcome.reset]


def doubt(reason: str, detail: str, **columns: Any) -> str | None:
    return Doubtful().why(Known({"status": "unavailable", "reason": reason, "detail": detail, **columns}))


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("no_audio", "none has audio among the 4 formats (sb3, sb2, sb1, sb0)"),
        ("no_audio", "none has audio among the 6 formats (sb0, 160, 133, 134, 135, 136)"),
        ("no_audio", "no single stream has both among the 2 formats (140, 137)"),
        ("no_audio", "This video is DRM protected"),
        ("no_video", "none has video among the 1 formats (140)"),
        ("nonexistent", "Video unavailable"),
        ("nonexistent", "Video unavailable. This video is not available"),
        ("nonexistent", "This video is not available on this device."),
        ("nonexistent", "Video unavailable. This content isn’t available."),
        ("nonexistent", "Video unavailable. Playback on other websites has been disabled by the video owner"),
        ("nonexistent", "Video unavailable. This video is age-restricted and only available on YouTube"),
        ("nonexistent", "This video is unavailable. Error code: 152 - 18"),
        ("nonexistent", "Video unavailable. VPN/Proxy Detected. Turn off your VPN/Proxy"),
        ("nonexistent", ""),
        ("nonexistent", "known from gone.jsonl: Video unavailable"),
        ("private", "Sign in to confirm you're not a bot. This video is private"),
    ],
)
def test_doubtful(reason: str, detail: str) -> None:
    assert doubt(reason, detail)


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("nonexistent", "This video does not exist."),
        ("nonexistent", "Video unavailable. This video is unavailable"),
        ("nonexistent", "This video isn't available anymore"),
        ("nonexistent", "known from gone.jsonl"),
        ("nonexistent", "known from gone.jsonl: This video does not exist."),
        ("nonexistent", "Of no use to us (by youtube.wordings: of no use)"),
        ("removed", "Video unavailable. This video has been removed by the uploader"),
        (
            "copyright",
            "Video unavailable. This video contains content from SME, who has blocked it on copyright grounds",
        ),
        ("private", "Private video. Sign in if you've been granted access to this video"),
        ("login_required", "Sign in to confirm your age"),
        ("live", "live_status is is_upcoming"),
        ("segment_past_end", "the video lasts 8 s, the segment starts at 30 s"),
        ("geo_blocked", "The uploader has not made this video available in your country"),
        ("removed", ""),
    ],
)
def test_beyond_doubt(reason: str, detail: str) -> None:
    assert doubt(reason, detail) is None


def test_no_audio_of_today_is_doubted_only_for_what_its_detail_says() -> None:
    today = {"audio_track": ""}
    assert doubt("no_audio", "none has audio among the 3 formats (160, 133, 134)", **today) is None
    assert doubt("no_audio", "none has audio among the 2 formats (sb1, sb0)", **today)
    assert doubt("nonexistent", "Video unavailable", **today)
    assert Doubtful().why(Known({"status": "failed", "reason": "no_audio"})) is None


DOUBTFUL = [
    {"reason": "no_audio", "detail": "none has audio among the 4 formats (sb3, sb2, sb1, sb0)"},
    {"reason": "nonexistent", "detail": "Video unavailable. This video is not available"},
    {"reason": "nonexistent", "detail": "This video does not exist."},
    {"status": "ok", "reason": ""},
    {"status": "failed", "reason": "http_error", "ytdlp_version": "2026.10.26"},
    {"status": "failed", "reason": "http_error", "ytdlp_version": ""},
]


def test_doubtful_rows_are_counted_then_reset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path / "data", DOUBTFUL)
    before = data.manifest(SHARD).read_bytes()
    budget = ("--set", "egress=[{name: direct, videos_per_hour: 1}]")
    assert main(["retry", str(data.root), "--doubtful", *budget]) == 0
    said = capsys.readouterr().out
    assert "no_audio                      1   nothing but storyboards was offered" in said
    assert "nonexistent                   1   no words that say so" in said
    assert "fitting: 2\nasking again takes 2 h of the budget of 1 an hour (2 videos)\n" in said
    assert "nothing is changed; --yes resets them" in said
    assert data.manifest(SHARD).read_bytes() == before
    assert main(["retry", str(data.root), "--doubtful", "--reason", "no_audio", "--yes"]) == 0
    assert "reset: 1\n" in capsys.readouterr().out
    assert pending(data) == [0]
    last = json.loads(data.manifest(SHARD).read_text().splitlines()[-1])
    assert last["detail"] == "was unavailable no_audio: nothing but storyboards was offered"


def test_before_ytdlp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path / "data", DOUBTFUL)
    assert main(["retry", str(data.root), "--before-ytdlp", "2026.10.26"]) == 0
    assert "fitting: 3\n" in capsys.readouterr().out, "neither ok rows, nor the newer one's, nor one of none"
    assert main(["retry", str(data.root), "--before-ytdlp", "2026.8.19"]) == 0
    assert "fitting: 0\n" in capsys.readouterr().out
    assert main(["retry", str(data.root), "--reason", "nonexistent", "--before-ytdlp", "2026.10.26", "--yes"]) == 0
    assert pending(data) == [1, 2]
    with pytest.raises(SystemExit) as refused:
        main(["retry", str(data.root), "--before-ytdlp", "october"])
    assert refused.value.code == 2
    assert "expected one like 2026.10.26" in capsys.readouterr().err


EGRESS = {"name": "direct", "cookies": None}
THEN = {
    "egress": [EGRESS],
    "youtube": {"args": ["-f", "140"], "wordings": {"of no use": "removed"}},
    "video": {"mode": "bestvideo", "max_height": 240},
}
TODAY = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
YESTERDAY = "2026-11-27T00:00:00+00:00"


def changed(row: dict[str, Any], now: dict[str, Any], blocked_from: tuple[str, ...] = ()) -> str | None:
    noted = [
        {"first_used_at": "2026-09-01T00:00:00+00:00", "last_used_at": "2026-09-01T00:00:00+00:00", "config": THEN}
    ]
    whole = {"status": "unavailable", "finished_at": WRITTEN, "egress": "direct", **row}
    return Changed(THEN | now, noted, TODAY).why(Known(whole, frozenset(blocked_from)))


@pytest.mark.parametrize(
    ("row", "now", "fits"),
    [
        ({"reason": "login_required"}, {"egress": [{"name": "direct", "cookies": "/c.txt"}]}, True),
        ({"reason": "login_required"}, {"egress": [EGRESS, {"name": "b", "cookies": "/c.txt"}]}, True),
        ({"reason": "login_required"}, {}, False),
        ({"reason": "geo_blocked"}, {"egress": [EGRESS, {"name": "b"}]}, True),
        ({"reason": "geo_blocked"}, {}, False),
        ({"reason": "format_unavailable"}, {"youtube": {"args": ["--format=251"]}}, True),
        ({"reason": "format_unavailable"}, {"youtube": {"args": ["--format", "140", "--no-cache-dir"]}}, False),
        ({"reason": "format_unavailable"}, {"youtube": {"args": []}}, True),
        ({"reason": "no_video"}, {"video": {"mode": "none", "max_height": 240}}, True),
        ({"reason": "no_video"}, {}, False),
        ({"reason": "no_audio"}, {"video": {"mode": "none", "max_height": 240}}, False),
        ({"reason": "live", "detail": "Premieres soon; scheduled for 2026-11-27T23:59:00+00:00"}, {}, True),
        ({"reason": "live", "detail": "Premieres soon; scheduled for 2026-11-27T23:59:00Z"}, {}, True),
        ({"reason": "live", "detail": "Premieres soon; scheduled for 2026-11-29T00:00:00+00:00"}, {}, False),
        ({"reason": "live", "detail": "This live event will begin in 3 days."}, {}, True),
        ({"reason": "live", "detail": "Premieres in 90 days"}, {}, False),
        ({"reason": "live", "detail": "scheduled for some time"}, {}, False),
        ({"reason": "live", "detail": "live_status is is_live"}, {}, True),
        ({"reason": "live", "detail": "Premiere will begin shortly", "finished_at": YESTERDAY}, {}, False),
        ({"reason": "live", "detail": "Premiere will begin shortly"}, {}, True),
        ({"reason": "live", "detail": "This live stream recording is not available"}, {}, False),
        ({"reason": "removed", "detail": "Of no use (by youtube.wordings: of no use)"}, {}, False),
        ({"reason": "removed", "detail": "Of no use (by youtube.wordings: of no use)"}, {"youtube": {}}, True),
        ({"reason": "removed"}, {"egress": [{"name": "b", "cookies": "/c.txt"}]}, False),
        ({"reason": "login_required", "status": "failed"}, {"egress": [{"name": "b", "cookies": "/c"}]}, False),
    ],
)
def test_changed(row: dict[str, Any], now: dict[str, Any], fits: bool) -> None:
    assert (changed(row, now, ("direct",)) is not None) == fits


def test_cookies_that_the_row_had_are_no_change() -> None:
    with_cookies = THEN | {"egress": [{"name": "direct", "cookies": "/c.txt"}]}
    noted = [
        {
            "first_used_at": "2026-09-05T00:00:00+00:00",
            "last_used_at": "2026-09-08T00:00:00+00:00",
            "config": with_cookies,
        },
        {"first_used_at": "2026-09-01T00:00:00+00:00", "last_used_at": "2026-09-04T00:00:00+00:00", "config": THEN},
    ]
    row = {"status": "unavailable", "reason": "login_required", "egress": "direct"}
    rule = Changed(with_cookies, noted, TODAY)
    assert rule.why(Known(row | {"finished_at": WRITTEN})) is None
    assert rule.why(Known(row | {"finished_at": "2026-09-03T12:00:00+00:00"})) is not None


@pytest.mark.parametrize(
    ("row", "now", "why"),
    [
        ({"reason": "live", "detail": f"Premieres in {'9' * 30} days"}, {}, None),
        ({"reason": "live", "detail": "begins in 3 days", "finished_at": "9999-12-31T00:00:00+00:00"}, {}, None),
        (
            {"reason": "login_required", "egress": ["direct"]},
            {"egress": [{"name": "direct", "cookies": "/c.txt"}]},
            "an egress has cookies now",
        ),
        (
            {"reason": "format_unavailable"},
            {"youtube": {"args": 5, "wordings": 5}},
            "youtube.args choose another format",
        ),
        (
            {"reason": "removed", "detail": "gone (by youtube.wordings: gone)"},
            {"youtube": {"wordings": 5}},
            "youtube.wordings no longer say so",
        ),
    ],
)
def test_what_others_have_written_gives_no_traceback(row: dict[str, Any], now: dict[str, Any], why: str | None) -> None:
    assert changed(row, now) == why


def test_changed_rows_are_counted_then_reset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"reason": "login_required"},
        {"reason": "geo_blocked"},
        {"reason": "live", "detail": "Premieres soon; scheduled for 2026-10-01T00:00:00+00:00"},
        {"reason": "removed"},
    ]
    data = make_data(tmp_path / "data", rows)
    note(data, "then", "2026-09-01T00:00:00+00:00", **THEN)
    assert main(["retry", str(data.root), "--changed"]) == 0
    said = capsys.readouterr().out
    assert "fitting: 1\n" in said and "its date has passed" in said, "no other config is named"
    (tmp_path / "cookies.txt").write_text("# Netscape HTTP Cookie File\n")
    config = tmp_path / "site.yaml"
    config.write_text(
        yaml.safe_dump(
            {"egress": [{"name": "direct", "cookies": str(tmp_path / "cookies.txt")}, {"name": "elsewhere"}]}
        )
    )
    assert main(["retry", str(data.root), "--changed", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert "fitting: 3\nasking again takes 18 s of the budget of 600 an hour (3 videos)\n" in said
    assert "not asked through elsewhere yet" in said
    assert pending(data) == []
    assert main(["retry", str(data.root), "--changed", "--config", str(config), "--yes"]) == 0
    assert pending(data) == [0, 1, 2]


def test_geo_blocked_everywhere_is_settled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path / "data", [{"reason": "geo_blocked"}])
    row = json.loads(data.manifest(SHARD).read_text()) | {"egress": "elsewhere"}
    with data.manifest(SHARD).open("a") as manifest:
        manifest.write(json.dumps(row) + "\n")
    both = ("--set", "egress=[{name: direct}, {name: elsewhere}]")
    assert main(["retry", str(data.root), "--changed", *both]) == 0
    assert "fitting: 0\n" in capsys.readouterr().out
