"""Every message that `docs/troubleshooting.md` quotes is still one of the program's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.reasons import Reason

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
GAP = "\0"  # in the texts of the code: what differs from message to message


def table_rows() -> list[tuple[str, str]]:
    """(heading of the first column, first cell) of every row of a table."""
    rows, head = [], ""
    lines = PAGE.read_text().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not line.startswith("|---"):
            first = line.split("|")[1].strip()
            if following.startswith("|---"):
                head = first
            else:
                rows.append((head, first))
    return rows


def quoted() -> list[str]:
    return [re.fullmatch(r"`(.+)`", cell)[1] for head, cell in table_rows() if head.startswith("message")]  # type: ignore[index]


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Every text in a module, f-strings and %-formats with gaps, "a" + b with a gap for b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[-\d.]*[sdgfr]", GAP, node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)  # type: ignore[misc]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    found = [text for path in (ROOT / "audioset_batch").rglob("*.py") for text in texts_of(ast.parse(path.read_text()))]
    for script in ("setup.sh", "download_subset_files.sh", "audiosetdl-job-array.s", "jobs/environment.sh"):
        name = script.partition(".")[0]
        for line in (ROOT / script).read_text().splitlines():
            said = re.search(r'\b(?:echo|say|die) "([^"]+)', line)
            if said:
                text = re.sub(r"\$\{[^}]*\}|\$\w+", GAP, said[1])
                found += [text, f"{name}: {text}"]
    return found


@pytest.mark.parametrize("message", quoted())
def test_message_is_still_in_the_code(message: str, texts: list[str]) -> None:
    assert len(message.replace("...", "")) > 10, f"too little of the message to find it by: {message}"
    pattern = re.compile(".*".join(re.escape(part) for part in message.split("...")), re.DOTALL)
    assert any(pattern.search(text) for text in texts), f"not a message of the program any more: {message}"


def test_reasons_are_reasons() -> None:
    cells = [cell for head, cell in table_rows() if head == "reason"]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named
    assert named <= set(Reason)


def test_a_message_that_was_changed_is_noticed(texts: list[str]) -> None:
    with pytest.raises(AssertionError, match="not a message"):
        test_message_is_still_in_the_code("every egress is halted for longer than its max_wait", texts)
