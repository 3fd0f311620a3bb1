"""The CSV reader: every spelling seen in the wild, every kind of damage, the same from both readers."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.errors import InputRefused
from audioset_batch.model import Segment
from audioset_batch.plan import segments_csv
from audioset_batch.plan.careful_row import Kind
from audioset_batch.plan.segments_csv import (
    describe_problems,
    read_segments_csv,
    read_shard,
)

SUBSET = "eval_segments"
HEADER = (
    "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids={n}, num_segs={n}, num_unique_labels=527, num_positive_labels=9\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
A = Segment(SUBSET, "--4gqARaEJE", 0, 10_000, ("/m/068hy", "/m/07q6cd_"))
B = Segment(SUBSET, "-0DLPzsiXXE", 30_000, 39_500, ("/t/dd00003",))
A_LINE = '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n'
B_LINE = '-0DLPzsiXXE, 30.000, 39.500, "/t/dd00003"\n'
KNOWN = ("/m/068hy", "/m/07q6cd_", "/t/dd00003")


@contextlib.contextmanager
def only_careful() -> Iterator[None]:
    """Nothing is read by Arrow's regular expression."""
    with mock.patch.object(segments_csv, "_REGULAR", r"\z(?P<ytid>.)(?P<start>)(?P<end>)(?P<labels>)"):
        yield


@pytest.fixture(params=["regular", "careful"])
def reader(request: pytest.FixtureRequest) -> Iterator[None]:
    with only_careful() if request.param == "careful" else contextlib.nullcontext():
        yield


def parse(tmp_path: Path, content: str | bytes, **options: object):  # type: ignore[no-untyped-def]
    path = tmp_path / "eval_segments.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_segments_csv(path, SUBSET, **options)  # type: ignore[arg-type]


WILD = {
    "released": HEADER.format(n=2) + A_LINE + B_LINE,
    "no header": A_LINE + B_LINE,
    "one header line": "# YTID, start_seconds, end_seconds, positive_labels\n" + A_LINE + B_LINE,
    "plain header row": "YTID,start_seconds,end_seconds,positive_labels\n" + A_LINE + B_LINE,
    "quoted header": '"# num_segs=2"\n' + A_LINE + B_LINE,
    "no spaces": (A_LINE + B_LINE).replace(", ", ","),
    "crlf": (HEADER.format(n=2) + A_LINE + B_LINE).replace("\n", "\r\n"),
    "old mac": (HEADER.format(n=2) + A_LINE + B_LINE).replace("\n", "\r"),
    "unquoted": (A_LINE + B_LINE).replace('"', ""),
    "trailing commas": (HEADER.format(n=2) + A_LINE + B_LINE).replace("\n", ",,,\n"),
    "unquoted, trailing commas": (A_LINE + B_LINE).replace('"', "").replace("\n", ",,\n"),
    "no last line end": (A_LINE + B_LINE).rstrip("\n"),
    "whole seconds": A_LINE.replace(".000", "") + B_LINE.replace(".500", ".5").replace(".000", "."),
    "everything quoted": A_LINE.replace("--4gqARaEJE, 0.000, 10.000", '"--4gqARaEJE","0.000","10.000"') + B_LINE,
    "blank lines": "\n" + A_LINE + "\n,,,,\n" + B_LINE + "\n\n",
    "spaces in labels": A_LINE.replace(",/m", ", /m") + B_LINE,
    "bom": "\ufeff" + HEADER.format(n=2) + A_LINE + B_LINE,
    "bom, no header": "\ufeff" + A_LINE + B_LINE,
    "headers amid rows": HEADER.format(n=2) + A_LINE + HEADER.format(n=2) + B_LINE,
}


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("name", WILD)
def test_spellings_seen_in_the_wild(tmp_path: Path, name: str) -> None:
    parsed = parse(tmp_path, WILD[name], known_labels=KNOWN)
    assert parsed.problems == () and parsed.shortfall() == ""
    assert parsed.table.segments() == [A, B]


def test_gzip(tmp_path: Path) -> None:
    whole = (HEADER.format(n=2) + A_LINE + B_LINE).encode()
    assert parse(tmp_path, gzip.compress(whole)).table.segments() == [A, B]
    cut = parse(tmp_path, gzip.compress(whole, mtime=0)[:-9])
    assert "gzip stream breaks off" in cut.shortfall()


def test_more_than_three_decimals_are_rounded(tmp_path: Path) -> None:
    parsed = parse(tmp_path, A_LINE.replace("10.000", "9.99951").replace("0.000", "0.0004"))
    assert [(s.start_ms, s.end_ms) for s in parsed.table.segments()] == [(0, 10_000)]


BAD = [
    ('#NAME?, 30.000, 40.000, "/m/068hy"', Kind.DAMAGED_ID),
    ('#REF!,30,40,"/m/068hy"', Kind.DAMAGED_ID),
    ('#4gqARaEJEx, 30.000, 40.000, "/m/068hy"', Kind.BAD_ID),
    ('tooshort, 30.000, 40.000, "/m/068hy"', Kind.BAD_ID),
    ('exactly12chr, 30.000, 40.000, "/m/068hy"', Kind.BAD_ID),
    ('../../../et, 30.000, 40.000, "/m/068hy"', Kind.BAD_ID),
    ("aaaaaaaaaaa", Kind.FIELDS),
    ("aaaaaaaaaaa, 30.000", Kind.FIELDS),
    ("aaaaaaaaaaa, 30.000, 40.000", Kind.NO_LABELS),
    ("aaaaaaaaaaa, 30.000, 40.000,,,", Kind.NO_LABELS),
    ('aaaaaaaaaaa, 30.000, 40.000, "/m/068hy', Kind.QUOTE),
    ('aaaaaaaaaaa, -1.000, 40.000, "/m/068hy"', Kind.NEGATIVE_TIME),
    ('aaaaaaaaaaa, 30s, 40.000, "/m/068hy"', Kind.BAD_TIME),
    ('aaaaaaaaaaa, nan, 40.000, "/m/068hy"', Kind.BAD_TIME),
    ('aaaaaaaaaaa, 1e2, 400.000, "/m/068hy"', Kind.BAD_TIME),
    ('aaaaaaaaaaa, , 400.000, "/m/068hy"', Kind.BAD_TIME),
    ('aaaaaaaaaaa, 0, 99999999999, "/m/068hy"', Kind.BAD_TIME),
    ('aaaaaaaaaaa, 40.000, 40.000, "/m/068hy"', Kind.ORDER),
    ('aaaaaaaaaaa, 40.000, 30.000, "/m/068hy"', Kind.ORDER),
    ('aaaaaaaaaaa, 30.000, 40.000, "/m/068hy,/m/nosuch"', Kind.UNKNOWN_LABEL),
    ('aaaaaaaaaaa, 30.000, 40.000, "Dog"', Kind.UNKNOWN_LABEL),
    (A_LINE.strip(), Kind.DUPLICATE),
    (A_LINE.strip().replace(" ", "").replace(".000", ""), Kind.DUPLICATE),
]


@pytest.mark.usefixtures("reader")
def test_bad_rows_are_found_all_at_once(tmp_path: Path) -> None:
    lines = [line for line, _ in BAD]
    parsed = parse(tmp_path, A_LINE + "\n".join(lines) + "\n" + B_LINE, known_labels=KNOWN)
    assert [(p.line, p.kind, p.raw) for p in parsed.problems] == [
        (number, kind, line) for number, (line, kind) in enumerate(BAD, 2)
    ]
    assert parsed.table.segments() == [A, B]
    assert parsed.rows == len(BAD) + 2
    text = describe_problems(parsed.problems, Path("x.csv"))
    assert text.count("x.csv: line") == 20 and "and 3 more" in text and "2 end is not after start" in text


def test_labels_are_checked_for_form_without_the_class_file(tmp_path: Path) -> None:
    parsed = parse(tmp_path, A_LINE + B_LINE.replace("/t/dd00003", "Dog"))
    assert [p.kind for p in parsed.problems] == [Kind.UNKNOWN_LABEL]


def test_labels_are_taken_as_they_are_if_asked_to(tmp_path: Path) -> None:
    parsed = parse(tmp_path, A_LINE + B_LINE.replace("/t/dd00003", "Dog"), known_labels=None)
    assert parsed.problems == () and parsed.table.segments()[1].labels == ("Dog",)


def test_the_released_spelling_is_read_by_arrow(tmp_path: Path) -> None:
    with mock.patch.object(segments_csv, "parse_careful", side_effect=AssertionError):
        assert parse(tmp_path, A_LINE + B_LINE).table.segments() == [A, B]


def test_lines_of_any_length_and_nul_bytes(tmp_path: Path) -> None:
    content = A_LINE.encode() + b"\0" * 5_000_000 + b"\n" + B_LINE.encode() + b"aaaaaaaaaaa, \0, 2, /m/068hy\n"
    parsed = parse(tmp_path, content, known_labels=KNOWN)
    assert parsed.table.segments() == [A, B]
    assert [(p.line, p.kind) for p in parsed.problems] == [(2, Kind.BAD_ID), (4, Kind.BAD_TIME)]


def test_same_video_at_another_time_is_no_duplicate(tmp_path: Path) -> None:
    assert parse(tmp_path, A_LINE + A_LINE.replace(" 0.000", " 1.000")).problems == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEADER.format(n=2041789) + A_LINE, ["expected 2,041,789 segments", "1 row came"]),
        (HEADER.format(n=2) + A_LINE + B_LINE[:26], ["expected 2", "1 row came", "line 5", "cut off"]),
        (A_LINE + B_LINE[:-4], ["line 2", "cut off"]),
        (A_LINE + B_LINE[:5], ["line 2", "cut off"]),
        ("", ["expected segments, found none"]),
        ("# YTID, start_seconds\n", ["found none"]),
    ],
)
def test_a_file_that_is_not_whole(tmp_path: Path, content: str, says: list[str]) -> None:
    parsed = parse(tmp_path, content)
    assert all(words in parsed.shortfall() for words in says), parsed.shortfall()
    assert all(row == A for row in parsed.table.segments()) and parsed.problems == ()


def test_what_a_spreadsheet_left(tmp_path: Path) -> None:
    rows = "".join(f'{n:011d},{n % 50}.000,{n % 50 + 10}.000,"/m/068hy"\n' for n in range(1_048_575))
    parsed = parse(tmp_path, HEADER.splitlines()[2] + "\n" + rows)
    assert "1,048,575 rows came" in parsed.shortfall() and "a spreadsheet keeps" in parsed.shortfall()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html>\n<html><body>Access denied</body></html>", "HTML or XML page"),
        (b"\n  <?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
        ("ä".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04xx", "spreadsheet"),
    ],
)
def test_files_that_are_no_csv(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(InputRefused, match=says):
        parse(tmp_path, content)


def test_strict_readers(tmp_path: Path) -> None:
    shard = tmp_path / "eval_segments.csv.01"
    shard.write_text("# a\n# num_segs=2\n# YTID\n" + A_LINE + B_LINE)
    assert read_shard(shard, SUBSET) == [A, B]
    shard.write_text("# a\n# num_segs=0\n# YTID\n")
    assert read_shard(shard, SUBSET) == []
    for torn in ("", "# a\n# num_segs=2\n# YTID\n" + A_LINE, A_LINE + B_LINE[:20], A_LINE + "#NAME?,1,2,/m/0\n"):
        shard.write_text(torn)
        with pytest.raises(InputRefused, match=r"(?s)csv\.01.*download_subset_files\.sh again"):
            read_shard(shard, SUBSET)
    with pytest.raises(InputRefused, match=r"\.09"):
        read_shard(tmp_path / "eval_segments.csv.09", SUBSET)


def test_lines_are_written_as_released(tmp_path: Path) -> None:
    whole = HEADER.format(n=2) + A_LINE + B_LINE
    assert "".join(parse(tmp_path, whole).table.csv_lines().to_pylist()) == A_LINE + B_LINE


field = st.one_of(
    st.sampled_from(["--4gqARaEJE", "-0DLPzsiXXE", "#NAME?", "YTID", "", " 30.000", "40", "-1", ".5", "1.", "9.9999"]),
    st.sampled_from(
        ['"/m/068hy"', '"/m/068hy,/t/dd00003"', "/m/068hy", '"', "/m/068hy,", "x", '""', "0.1234567890123"]
    ),
    st.text(alphabet='a-_09.,"# /\r\té\0', max_size=13),
)
line = st.one_of(
    st.lists(field, max_size=6).map(",".join),
    st.tuples(
        st.text(alphabet="aB0-_", min_size=10, max_size=12),
        st.sampled_from([",", ", ", ",  ", " ,"]),
        st.decimals(min_value=0, max_value=700, places=3).map(str),
        st.integers(0, 9999).map(str),
        st.sampled_from(['"/m/068hy"', "/m/068hy,/m/x", '"/m/068hy",', '"/m/068hy,"', '"/m/a,,/m/b"', '"/m/ b"']),
    ).map(lambda p: p[1].join((p[0], p[2], p[3], p[4]))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(line, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_both_readers_agree(tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, ended: bool) -> None:
    content = (end.join(lines) + end * ended).encode()
    path = tmp_path_factory.mktemp("agree") / "x.csv"
    path.write_bytes(content)
    try:
        with only_careful():
            careful = read_segments_csv(path, SUBSET)
    except InputRefused:
        with pytest.raises(InputRefused):
            read_segments_csv(path, SUBSET)
        return
    fast = read_segments_csv(path, SUBSET)
    assert fast.table.segments() == careful.table.segments()
    assert (fast.problems, fast.shortfall()) == (careful.problems, careful.shortfall())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z0-9_-]{11}", fullmatch=True),
            st.integers(0, 10**7),
            st.integers(1, 60_000),
            st.lists(st.from_regex(r"/[mt]/[a-z0-9_]{2,8}", fullmatch=True), min_size=1, max_size=4),
        ),
        max_size=8,
        unique_by=lambda row: row[:2],
    )
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, list[str]]]
) -> None:
    path = tmp_path_factory.mktemp("round") / "eval_segments.csv"
    expected = [Segment(SUBSET, y, s, s + d, tuple(m)) for y, s, d, m in rows]
    path.write_text(
        f"# num_segs={len(rows)}\n"
        + "".join(f'{y}, {s / 1000:.3f}, {(s + d) / 1000:.3f}, "{",".join(m)}"\n' for y, s, d, m in rows)
    )
    assert read_shard(path, SUBSET) == expected
    again = read_segments_csv(path, SUBSET).table.csv_lines().to_pylist()
    assert "".join(again) == path.read_text().split("\n", 1)[1]
