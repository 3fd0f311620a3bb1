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

from audioset_batch.standin.formats import AUDIO_ITAGS, FORMATS, VIDEO_ITAGS
from audioset_batch.standin.tracks import AudioTrack

DEFAULT_ITAGS: Final = (18, 134, 140, 251)
EVERY_CLIENT: Final = "*"


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


class Lock(StrEnum):
    """What keeps a client from fetching a format that YouTube lists."""

    SABR = "sabr"
    """No URL."""
    CIPHER = "cipher"
    """No URL, but a `signatureCipher` that only the player script decodes; this script does not."""
    N = "n"
    """An `n` in the URL that the player script has to change; this script does not, and the media answer 403."""
    DRM = "drm"
    """Encrypted for a DRM system."""
    OTF = "otf"
    """`FORMAT_STREAM_TYPE_OTF`: no index, pieces by number."""
    TOKEN = "token"
    """The media answer 403 without a PO token (`pot`) in the URL; any will do."""


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
            where nothing would be left. `formats.FORMATS` are those there are.
        announced_seconds: Duration that YouTube states; None for the true one.
        channels: Of its audio, 1 or 2; formats that are 5.1 or mono by their kind stay so.
        silent: Digital silence instead of the time code.
        edit_list: False: its MP4 files do not declare the encoder's priming.
        bit_rate: Of its audio, bit/s.
        placeholder: The thumbnail host says 200, not 404, when it sends the placeholder of a picture that is gone.
        sound: A sound of `sounds.py` instead of the time code, e.g. `siren+tick.7`.
        tracks: Its audio tracks; empty for a video with one, which has no name. The content of each says which it is.
        kids: Made for kids: clients VISIONOS and ANDROID_VR are told that it is not available; the watch page says so.
        interstitial: What YouTube says of it comes in the error screens of August 2026 on.
        storyboards: Comes with every answer that can be played.
        hls: Clients VISIONOS and IOS are sent the address of an HLS manifest.
        muxed: Client VISIONOS is sent the formats with sound and pictures, as YouTube no longer does.
        sabr: Clients (their InnerTube names) that are sent no URLs, besides ANDROID and WEB, which never are (but for
            the muxed formats of ANDROID); `EVERY_CLIENT` for all, the muxed formats too.
        locks: Formats that are listed, but cannot be fetched as they are.
        ad_seconds: Of an ad before it that can be skipped then: until then the media answer 403.
        trailer: Id of the trailer that is shown instead of a film to be paid for; for `PURCHASE`.
        feeds: Ids of a multi-camera event, of which this video is one.
        answers: A whole player answer for a client (InnerTube name, or `EVERY_CLIENT`), instead of what the catalogue
            would send. `answers.SIGNED` where it has an address becomes a signed one of the stand-in's.
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
    tracks: tuple[AudioTrack, ...] = ()
    kids: bool = False
    interstitial: bool = False
    storyboards: bool = True
    hls: bool = True
    muxed: bool = False
    sabr: tuple[str, ...] = ()
    locks: Mapping[int, Lock] = field(default_factory=dict)
    ad_seconds: float = 0.0
    trailer: str = ""
    feeds: tuple[str, ...] = ()
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := [itag for itag in self.itags if itag not in FORMATS]:
            raise ValueError(f"video {self.ytid}: itags {unknown}: there are {', '.join(map(str, FORMATS))}")
        offered = [(track.xtags, itag) for track in self.tracks for itag in track.itags or self.itags]
        if len(set(offered)) < len(offered):
            raise ValueError(f"video {self.ytid}: two audio tracks of the same language and kind")

    @property
    def playable_itags(self) -> tuple[int, ...]:
        """The formats that YouTube offers of it."""
        match self.outcome:
            case Outcome.OK | Outcome.LIVE:
                return self.itags
            case Outcome.NO_AUDIO:
                return tuple(itag for itag in self.itags if itag in VIDEO_ITAGS) or (134,)
            case Outcome.NO_VIDEO:
                return tuple(itag for itag in self.itags if itag in AUDIO_ITAGS) or (251,)
            case _:
                return ()

    @property
    def has_thumbnail(self) -> bool:
        """Whether the thumbnail host still has a picture of it."""
        return self.outcome not in GONE

    def tracks_of(self, itag: int) -> tuple[AudioTrack | None, ...]:
        """The tracks that have this format; one without a name (None) where there are none, or no sound alone."""
        if not self.tracks or itag not in AUDIO_ITAGS:
            return (None,)
        return tuple(track for track in self.tracks if track.itags is None or itag in track.itags)

    def content(self, track: AudioTrack | None) -> int:
        """What the sound of a track is marked with; without a name it is the default's."""
        if track is not None:
            return self.tracks.index(track) if track.content is None else track.content
        default = next((one for one in self.tracks if one.is_default), None)
        return 0 if default is None else self.content(default)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Video:
        """From JSON; unknown keys raise TypeError, unknown words ValueError."""
        known = dict(values)
        known["outcome"] = Outcome(known.get("outcome", Outcome.OK))
        known["itags"] = tuple(known.get("itags", DEFAULT_ITAGS))
        known["tracks"] = tuple(AudioTrack.from_dict(track) for track in known.get("tracks", ()))
        known["locks"] = {int(itag): Lock(lock) for itag, lock in known.get("locks", {}).items()}
        for name in ("sabr", "feeds"):
            known[name] = tuple(known.get(name, ()))
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
