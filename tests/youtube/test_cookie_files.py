"""Cookie files: what is none is refused with the file and what it is instead, and nothing of it is shown."""

from pathlib import Path

import pytest

from audioset_batch.errors import UsageError
from audioset_batch.youtube.cookies import read_cookies

HEADER = "# Netscape HTTP Cookie File\n"
COOKIE = ".youtube.com\tTRUE\t/\tTRUE\t2000000000\tSID\tT1RE\n"

BAD = {
    "empty": ("", "is empty"),
    "blank": ("\n \n", "is empty"),
    "JSON": ('[{"domain": ".youtube.com", "name": "SID", "value": "T1RE"}]', "is JSON"),
    "HTML": ("\n<!DOCTYPE html><html>T1RE</html>", "is HTML"),
    "no header": (COOKIE, "does not begin with"),
    "spaces": (HEADER + COOKIE.replace("\t", " "), "has 1 fields in line 2"),
    "torn": (HEADER + COOKIE + ".youtube.com\tTRUE\t/\tT1RE\n", "has 4 fields in line 3"),
    "no time": (HEADER + COOKIE.replace("2000000000", "T1RE"), "has no time in the fifth field of line 2"),
    "nothing": (HEADER + "# T1RE\n\n", "has no cookie in it"),
    "a header line": ("Cookie: SID=T1RE", "does not begin with"),
    "binary": ("\x00\x01T1RE", "does not begin with"),
    "huge": (HEADER + COOKIE * 100_000, "has more than"),
}


@pytest.mark.parametrize(("text", "problem"), BAD.values(), ids=BAD)
def test_what_is_none(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "cookies.txt"
    file.write_text(text)
    with pytest.raises(UsageError, match=f"cookie file {file} {problem}.*: expected Netscape's format") as caught:
        read_cookies(file)
    assert "T1RE" not in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_cookies(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="is no file"):
        read_cookies(tmp_path)
    file = tmp_path / "cookies.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no text"):
        read_cookies(file)


@pytest.mark.parametrize(
    "text",
    [
        HEADER + COOKIE,
        "\ufeff# HTTP Cookie File\n\n" + COOKIE,
        (HEADER + "#HttpOnly_" + COOKIE + COOKIE.replace("2000000000", "")).replace("\n", "\r\n"),
    ],
    ids=["plain", "with a mark of the byte order", "from Windows"],
)
def test_what_yt_dlp_takes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cookies.txt"
    file.write_bytes(text.encode())
    assert read_cookies(file).count("SID") == text.count("SID")
