"""Who else can write a config: what runs programs is taken only from a file that is the user's own, or root's."""

from __future__ import annotations

import os
import pwd
import stat
from collections import deque
from pathlib import Path
from typing import Final

_MOST_LINKS: Final = 40


def who_can_change(path: Path) -> str:
    """Who but this user and root can change what `path` leads to, in words; "" if nobody.

    Looks at the file, at every folder above it, and at symbolic links on the way with the folders that hold them. In a
    sticky folder such as /tmp others cannot replace what they do not own. An ACL that lets others write shows in the
    bits of the group, which then are its mask.
    """
    waiting = deque(path.absolute().parts[1:])
    current = Path("/")
    links = 0
    try:
        found = current.lstat()
        why = _why(current, found)
        while waiting and not why:
            part = waiting.popleft()
            if part == "..":
                current = current.parent
                continue
            inner = current / part
            found = inner.lstat()
            if not stat.S_ISLNK(found.st_mode):
                current = inner
                why = _why(inner, found)
                continue
            links += 1
            if links > _MOST_LINKS:
                return f"{path} leads through too many symbolic links"
            why = _owner(inner, found)
            target = Path(inner.readlink())
            if target.is_absolute():
                current = Path("/")
            waiting.extendleft(reversed([part for part in target.parts if part != "/"]))
    except OSError as error:
        return f"{path} cannot be looked at ({error.strerror})"
    return why


def _why(path: Path, found: os.stat_result) -> str:
    why = _owner(path, found)
    if why or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return why
    if found.st_mode & stat.S_IWOTH:
        return f"everybody can write {path}"
    return f"the group of {path} can write it" if found.st_mode & stat.S_IWGRP else ""


def _owner(path: Path, found: os.stat_result) -> str:
    if found.st_uid in (0, os.geteuid()):
        return ""
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        name = f"user {found.st_uid}"
    return f"{path} belongs to {name}"
