"""What the stand-in knows: video ids, their media, and what YouTube says of those that cannot be watched."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

DEFAULT_ITAGS: Final = (18, 134, 140, 251)
_VIDEO_ITAGS: Final = frozenset({134, 136})
_AUDIO_ITAGS: Final = frozenset({140, 251})


class Outcome(StrEnum):
    """What asking for a video comes to. The wordings are in `outcomes.py`."""

    OK = "ok"
    REMOVED = "removed"
    ACCOUNT_TERMINATED = "account_terminated"
    NONEXISTENT = "nonexistent"
    DOES_NOT_EXIST = "does_not_exist"
    NOT_AVAILABLE = "not_available"
    PRIVATE = "private"
    COPYRIGHT_CLAIM = "copyright_claim"
    COPYRIGHT_BLOCK = "copyright_block"
    GEO_BLOCKED = "geo_blocked"
    AGE = "age"
    MEMBERS = "members"
    PURCHASE = "purchase"
    LIVE = "live"
    UPCOMING = "upcoming"
    DRM = "drm"
    NO_AUDIO = "no_audio"
    NO_VIDEO = "no_video"
    NO_FORMATS = "no_formats"


GONE: Final = frozenset(
    {
        Outcome.REMOVED,
        Outcome.ACCOUNT_TERMINATED,
        Outcome.NONEXISTENT,
        Outcome.DOES_NOT_EXIST,
        Outcome.NOT_AVAILABLE,
        Outcome.PRIVATE,
    }
)
"""Videos whose thumbnail is gone too."""

USUAL_LOSSES: Final = (
    Outcome.REMOVED,
    Outcome.ACCOUNT_TERMINATED,
    Outcome.NONEXISTENT,
    Outcome.NOT_AVAILABLE,
    Outcome.PRIVATE,
    Outcome.COPYRIGHT_CLAIM,
    Outcome.GEO_BLOCKED,
    Outcome.AGE,
    Outcome.MEMBERS,
    Outcome.UPCOMING,
    Outcome.NO_AUDIO,
)
"""Outcomes that a made-up catalogue mixes in."""


@dataclass(frozen=True, slots=True)
class Video:
    """One video.

    Attributes:
        ytid: Eleven characters.
        seconds: Duration of its media.
        outcome: What asking for it comes to.
        itags: Formats it has; `NO_AUDIO` and `NO_VIDEO` take theirs away, and give 134 or 251
            where nothing would be left.
        announced_seconds: Duration that YouTube states; None for the true one.
        channels: Of its audio, 1 or 2.
        silent: Digital silence instead of the time code.
        edit_list: False: its MP4 files do not declare the encoder's priming.
        bit_rate: Of its audio, bit/s.
        placeholder: The thumbnail host says 200, not 404, when it sends the placeholder of a picture that is gone.
        sound: A sound of `sounds.py` instead of the time code, e.g. `siren+tick.7`.
    """

    ytid: str
    seconds: float = 60.0
    outcome: Outcome = Outcome.OK
    itags: tuple[int, ...] = DEFAULT_ITAGS
    announced_seconds: float | None = None
    channels: int = 2
    silent: bool = False
    edit_list: bool = True
    bit_rate: int = 128_000
    placeholder: bool = False
    sound: str = ""

    @property
    def playable_itags(self) -> tuple[int, ...]:
        """The formats that YouTube offers of it."""
        match self.outcome:
            case Outcome.OK | Outcome.LIVE:
                return self.itags
            case Outcome.NO_AUDIO:
                return tuple(itag for itag in self.itags if itag in _VIDEO_ITAGS) or (134,)
            case Outcome.NO_VIDEO:
                return tuple(itag for itag in self.itags if itag in _AUDIO_ITAGS) or (251,)
            case _:
                return ()

    @property
    def has_thumbnail(self) -> bool:
        """Whether the thumbnail host still has a picture of it."""
        return self.outcome not in GONE

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Video:
        """From JSON; unknown keys raise TypeError."""
        known = dict(values)
        known["outcome"] = Outcome(known.get("outcome", Outcome.OK))
        known["itags"] = tuple(known.get("itags", DEFAULT_ITAGS))
        return cls(**known)


@dataclass(slots=True)
class Catalog:
    """All videos; `default` answers for ids that are not listed (None: they do not exist)."""

    videos: dict[str, Video] = field(default_factory=dict)
    default: Video | None = None

    @classmethod
    def of(cls, *videos: Video, default: Video | None = None) -> Catalog:
        """A catalogue of these videos."""
        return cls({video.ytid: video for video in videos}, default)

    @classmethod
    def from_ids(
        cls,
        ids: Iterable[str] | Mapping[str, float],
        *,
        seed: int = 0,
        unavailable_share: float = 0.0,
        outcomes: Sequence[Outcome] = USUAL_LOSSES,
        seconds: Sequence[float] = (60.0, 180.0, 600.0),
        short_share: float = 0.0,
        short_by: float = 3.0,
        itags: Sequence[int] = DEFAULT_ITAGS,
        default: Video | None = None,
    ) -> Catalog:
        """Make up videos for these ids, the same ones whenever the arguments are the same.

        Args:
            ids: Video ids, or a mapping of ids to the seconds that the video must at least last.
            seed: Changes everything.
            unavailable_share: Part of the videos that cannot be watched, spread evenly over `outcomes`.
            outcomes: What these come to.
            seconds: Durations to mix; where none is long enough, a multiple of ten minutes.
            short_share: Part of the watchable videos that end `short_by` seconds before what `ids` asks for.
            short_by: See `short_share`.
            itags: Formats of every video.
            default: See `Catalog`.
        """
        needs = dict(ids) if isinstance(ids, Mapping) else dict.fromkeys(ids, 0.0)
        order = sorted(needs, key=lambda ytid: random.Random(f"{seed}:{ytid}").random())
        lost = round(unavailable_share * len(order))
        short = round(short_share * (len(order) - lost))
        videos: dict[str, Video] = {}
        for place, ytid in enumerate(order):
            fitting = [one for one in seconds if one >= needs[ytid]] or [600.0 * (needs[ytid] // 600 + 1)]
            video = Video(ytid, random.Random(f"{seed}:{ytid}:seconds").choice(fitting), itags=tuple(itags))
            if place < lost:
                video = dataclasses.replace(video, outcome=outcomes[place % len(outcomes)])
            elif place < lost + short and needs[ytid] > short_by:
                video = dataclasses.replace(video, seconds=needs[ytid] - short_by)
            videos[ytid] = video
        return cls({ytid: videos[ytid] for ytid in needs}, default)

    def get(self, ytid: str) -> Video:
        """The video of this id."""
        video = self.videos.get(ytid)
        if video is not None:
            return video
        if self.default is not None:
            return dataclasses.replace(self.default, ytid=ytid)
        return Video(ytid, outcome=Outcome.NONEXISTENT)

    def put(self, video: Video) -> None:
        """Add a video, or replace the one of the same id."""
        self.videos[video.ytid] = video

    def save(self, path: Path) -> None:
        """Write as JSON for `load`."""
        default = None if self.default is None else dataclasses.asdict(self.default)
        videos = [dataclasses.asdict(video) for video in self.videos.values()]
        path.write_text(json.dumps({"default": default, "videos": videos}), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Read what `save` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        data = json.loads(path.read_text(encoding="utf-8"))
        default = None if data.get("default") is None else Video.from_dict(data["default"])
        return cls.of(*(Video.from_dict(entry) for entry in data["videos"]), default=default)
