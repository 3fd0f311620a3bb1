"""The configuration as frozen, validated values. The defaults live here; `configs/default.yaml` lists them all.

Field descriptions are the text of `docs/configuration.md`, which is generated from this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from audioset_batch.config.proxy import proxy_problem
from audioset_batch.config.values import LONGEST_SECONDS, Bytes, Duration, Form, Number, Seconds, WholeSeconds
from audioset_batch.model import SUBSETS
from audioset_batch.paths import expand_home
from audioset_batch.reasons import REFUSALS, Reason

DEFAULT_BASE_URL = "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv"


class Section(BaseModel):
    """A section of the config: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Name = Annotated[str, Field(min_length=1)]


class Source(Section):
    """Where the segment lists come from and which of them are run."""

    base_url: Name = Field(DEFAULT_BASE_URL, description="Folder of the segment CSVs: http(s)://, file:// or a path.")
    subsets: Literal["present"] | tuple[Name, ...] = Field(
        "present", description="`present` (every subset with shards in data_dir), or a list of subsets."
    )

    @field_validator("subsets", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("subsets")
    @classmethod
    def _known(cls, value: Literal["present"] | tuple[str, ...]) -> Literal["present"] | tuple[str, ...]:
        if value != "present":
            unknown = [name for name in value if name not in SUBSETS]
            if unknown or not value:
                raise ValueError(f"{', '.join(unknown) or 'empty list'}: choose from {', '.join(SUBSETS)}")
        return value


class Audio(Section):
    """The audio file of a clip."""

    format: Literal["flac", "wav", "ogg", "mp3"] = Field("flac", description="File format of the clips.")
    sample_rate: Literal["keep"] | Annotated[int, Field(ge=8000, le=192000)] = Field(
        48000, description="Hz, or `keep` for the rate of the source."
    )
    bit_depth: Literal[16, 24, 32] = Field(16, description="Bits per sample of flac (16, 24) and wav.")
    channels: Literal["keep", 1, 2] = Field("keep", description="1 mixes down, 2 duplicates, `keep` leaves.")
    track: Literal["original", "any"] = Field(
        "original",
        description="Where YouTube lists the original sound but gives no address for it: `original` leaves the segment "
        "`failed` (`no_usable_format`), `any` takes a dubbed track. See docs/formats.md.",
    )

    @model_validator(mode="after")
    def _possible(self) -> Audio:
        if self.format == "flac" and self.bit_depth == 32:
            raise ValueError("bit_depth 32 is not possible with format flac: choose 16 or 24")
        mp3_rates = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
        if self.format == "mp3" and self.sample_rate != "keep" and self.sample_rate not in mp3_rates:
            raise ValueError(f"sample_rate {self.sample_rate} is not possible with format mp3: {mp3_rates}")
        return self


class Video(Section):
    """The video file of a clip, if any."""

    mode: Literal["none", "bestvideo", "bestvideoaudio", "bestvideowithaudio"] = Field(
        "none",
        description="audiosetdl's modes. `bestvideo`: the best video stream, no sound in the file; "
        "`bestvideoaudio`: the best single stream that has both; `bestvideowithaudio`: the best video stream "
        "joined with the best audio stream.",
    )
    format: Literal["mp4"] = Field("mp4", description="Container of the video files.")
    frame_rate: Literal["keep"] | Annotated[Number, Field(gt=0, le=240)] = Field(
        30, description="Frames per second when cut exactly, or `keep`."
    )
    cut: Literal["exact", "copy"] = Field(
        "exact",
        description="`exact` re-encodes; `copy` copies the stream from the keyframe before the start.",
    )
    max_height: Annotated[int, Field(ge=16)] | None = Field(
        None, description="Take no stream higher than this many pixels, and scale down to it; null: no limit."
    )
    codec: Literal["h264"] = Field("h264", description="Video codec of exact cuts.")
    crf: Annotated[int, Field(ge=0, le=51)] = Field(23, description="Quality of exact cuts; lower is better.")
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        Field("veryfast", description="Speed against size of exact cuts.")
    )


class Worker(Section):
    """How one worker goes about its shard."""

    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = Field(
        "auto", description="Processes; `auto`: the CPUs that SLURM (or the machine) gives."
    )
    threads: Annotated[int, Field(ge=1, le=512)] = Field(
        8, description="Segments in flight at once, over all processes of the worker."
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        3, description="Further tries at a transient error within one run."
    )
    backoff_seconds: Seconds = Field(2.0, description="Pause before the first retry; doubles, with jitter.")
    backoff_max_seconds: Seconds = Field(60.0, description="Longest pause between two retries.")
    segment_timeout: Seconds = Field(300.0, description="Seconds for one try at a segment; then it is ended.")
    grace_seconds: Duration = Field(
        20.0, description="Seconds to finish what is in flight when asked to stop; the rest stays pending."
    )
    order: Literal["csv", "rare-first", "random"] = Field(
        "csv",
        description="Order of the queue. `rare-first`: by the rarest label of a segment, counted over the whole plan. "
        "In each, segments that failed before come last, and behind them videos that `screen` takes for gone.",
    )
    max_clip_bytes: Annotated[Bytes, Field(ge=65536)] = Field(
        200_000_000, description="Most bytes ever fetched for one stream of one clip."
    )
    max_requeues: Annotated[int, Field(ge=0)] = Field(
        5,
        description="Requeues in a row that had a way out and a disk, and still finished no segment, before the worker "
        "gives up.",
    )
    hold_seconds: Seconds = Field(
        600.0,
        description="Under SLURM, no task holds its node for a longer wait: where the end of every pause and the next "
        "slot of every budget are further away, it goes back to the queue and starts again then. Elsewhere tasks wait.",
    )
    burst: Annotated[Duration, Field(le=86400)] = Field(
        0.0,
        description="Slots of the budgets up to this old may be used, so that a task of SLURM can be away from its "
        "node in between; 0: none. All who share egress_dir should have the same. Costs a part of the rate: "
        "window / (window + burst) is left. See docs/planning.md.",
    )
    temp_dir: Literal["shared", "node"] | Annotated[str, Form("a path"), Field(pattern=r"^[/~$].")] = Field(
        "shared",
        description="Where clips are made: `shared` (DATADIR/.tmp), `node` (SLURM_TMPDIR, else TMPDIR, else /tmp), or "
        "a path, in which the environment variables of the job are expanded. See docs/layouts.md.",
    )
    lease_seconds: Seconds = Field(
        120.0, description="A shard's lease that was not renewed for this long is taken over."
    )
    state_seconds: Seconds = Field(30.0, description="How often the state file is written, at most.")

    @model_validator(mode="after")
    def _burst_is_worth_it(self) -> Worker:
        if self.burst > 0 and 0.75 * self.burst <= self.hold_seconds:
            raise ValueError(
                f"burst of {self.burst:g} s: no task is away for less than hold_seconds ({self.hold_seconds:g} s), so "
                f"choose more than {self.hold_seconds / 0.75:g} s, or 0"
            )
        return self


class Egress(Section):
    """One way out to the internet and what it may be asked to do."""

    name: Annotated[
        str,
        Form("up to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit"),
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    ] = Field("direct", description="Name in manifests and reports.")
    proxy: str | None = Field(
        None,
        description="Proxy URL, its user and password percent-encoded; null: the usual environment variables hold.",
    )
    proxy_file: Path | None = Field(
        None,
        strict=False,
        description="File whose only line is the proxy URL, in place of `proxy`: for a password that others are not to "
        "read in the config.",
    )
    cookies: Path | None = Field(
        None,
        strict=False,
        description="Netscape cookie file. Risks the account behind it; each worker has a private copy.",
    )
    source_address: str | None = Field(None, description="Local address to send from.")
    videos_per_hour: Annotated[Number, Field(gt=0, le=1_000_000)] | None = Field(
        300.0, description="Budget of resolves per window, for everybody sharing egress_dir; null: none."
    )
    window_seconds: Seconds = Field(
        3600.0, description="Length of the sliding window in which `videos_per_hour` videos are allowed."
    )
    concurrent: Annotated[int, Field(ge=1, le=512)] = Field(
        8, description="Videos in flight through this egress per task."
    )
    max_wait: Duration = Field(
        3600.0,
        description="A pause longer than this many seconds ends the run (exit 75) if no other is open; under SLURM one "
        "longer than `worker.hold_seconds`, if that is less.",
    )
    pause_seconds: Seconds = Field(900.0, description="First pause after a block.")
    pause_factor: Annotated[Number, Field(ge=1, le=1000)] = Field(
        2.0, description="Growth of the pause when the block is still there."
    )
    pause_max_seconds: Seconds = Field(14400.0, description="Longest pause.")

    @property
    def per_hour(self) -> float | None:
        """The budget of an hour, whatever the window is; None without one."""
        return None if self.videos_per_hour is None else self.videos_per_hour * 3600 / self.window_seconds

    @field_validator("cookies", "proxy_file", mode="before")
    @classmethod
    def _path(cls, value: object) -> object:
        return expand_home(value) if isinstance(value, str) and value else value

    @field_validator("proxy")
    @classmethod
    def _proxy_url(cls, value: str | None) -> str | None:
        problem = "" if value is None else proxy_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _one_proxy(self) -> Egress:
        if self.proxy is not None and self.proxy_file is not None:
            raise ValueError("give proxy or proxy_file, not both")
        return self


class Probe(Section):
    """Videos known to be good, and when to ask for one."""

    ytids: tuple[Annotated[str, Form("video ids of 11 characters"), Field(pattern=r"^[A-Za-z0-9_-]{11}$")], ...] = (
        Field(
            ("jNQXAC9IVRw", "dQw4w9WgXcQ", "9bZkp7q19f0"),
            description="Long-lived public videos: one is tried before a paused egress reopens.",
        )
    )
    nonexistent_share: Annotated[Number, Field(gt=0, le=1)] = Field(
        0.5, description="When more than this share of the recent resolves says `nonexistent`, probe first."
    )
    recent: Annotated[int, Field(ge=2, le=100_000)] = Field(20, description="How many resolves count as recent.")

    @field_validator("ytids", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class Youtube(Section):
    """How yt-dlp is called."""

    args: tuple[str, ...] = Field((), description="Options of the yt-dlp command, read by yt-dlp's own parser.")
    player_skip: tuple[Literal["webpage", "configs", "js", "initial_data"], ...] = Field(
        ("webpage", "configs", "initial_data"),
        description="Requests that yt-dlp leaves out when it resolves; [] for all.",
    )
    update: Literal["never", "weekly"] = Field(
        "never",
        description="`weekly`: the first task after a week looks for a newer yt-dlp and tries it before its own work "
        "begins; tasks that start later take it. See docs/yt-dlp.md.",
    )
    lean: bool = Field(
        True,
        description="Ask first only the player clients that need no player script (one request per video), the others "
        "where these settle nothing. Off with cookies, or a player_client in args.",
    )

    wordings: dict[str, Reason] = Field(
        {},
        description="Gives a reason to refusals in words that this version does not know (`unrecognized`): plain text "
        "that they contain, in any case, and the reason, e.g. `{this video took a holiday: removed}`. Bans and what is "
        "known keep their meaning.",
    )

    @field_validator("wordings", mode="before")
    @classmethod
    def _of_refusals(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        for pattern, reason in value.items():
            if not isinstance(pattern, str) or len(pattern.strip()) < 5:
                raise ValueError(f"{pattern!r}: expected text of 5 characters or more, or it is in too many refusals")
            if reason not in REFUSALS:
                raise ValueError(f"{pattern!r} cannot mean {reason!r}: choose from {', '.join(REFUSALS)}")
        return {pattern: Reason(reason) for pattern, reason in value.items()}

    @field_validator("args", "player_skip", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class Output(Section):
    """How clips are stored."""

    layout: Literal["files", "webdataset"] = Field(
        "files", description="One file per clip, or tar shards after the conventions of webdataset."
    )
    tar_bytes: Annotated[Bytes, Field(ge=1_000_000)] = Field(
        1_000_000_000, description="Size that no tar shard exceeds, unless a single clip does."
    )


class Slurm(Section):
    """Resources for `submit`; plain sbatch is ruled by the #SBATCH lines of the scripts."""

    partition: str | None = Field(None, description="Partition; null: the cluster's default.")
    account: str | None = Field(None, description="Account to charge.")
    qos: str | None = Field(None, description="Quality of service.")
    mail_user: str | None = Field(None, description="Address for mail about the jobs.")
    mail_type: str | None = Field(None, description="Events to mail about, e.g. END,FAIL.")
    time: Annotated[
        str,
        Form("SLURM's notation, in quotes", ': `"24:00:00"`, `"1-12:00:00"`, or minutes: `"90"`'),
        Field(pattern=r"^(\d+|(\d+-)?\d{1,2}(:\d{2}){0,2}|\d+:\d{2}(:\d{2})?)$"),
    ] = Field("24:00:00", description="Time limit of one array task.")
    cpus_per_task: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="CPUs of one array task. `auto`: what the budgets of the egresses keep busy."
    )
    mem: (
        Literal["auto"]
        | Annotated[str, Form("a number and K, M, G or T", ": `600M`, `4G`"), Field(pattern=r"^\d+[KMGT]?$")]
    ) = Field("auto", description="Memory of one array task; `auto`: 600M for audio, more where pictures are encoded.")
    array_parallelism: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="Array tasks that run at the same time (the % of --array). `auto`: one serves all audio up to "
        "some 9,000 videos an hour.",
    )
    signal_seconds: Annotated[WholeSeconds, Field(le=65535)] = Field(
        180, description="The worker is warned this long before the time limit."
    )
    modules: tuple[str, ...] = Field((), description="Environment modules to load in each job.")
    setup: tuple[str, ...] = Field((), description="Shell lines to run before each job.")
    extra: dict[str, str | int | bool] = Field(
        {}, description="Further sbatch options, e.g. {constraint: ib}; true for options without a value."
    )

    @field_validator("modules", "setup", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class Config(Section):
    """Everything a worker needs to know."""

    data_dir: Path | None = Field(
        None, strict=False, description="The data directory, on a filesystem that all nodes see."
    )
    source: Source = Source()
    audio: Audio = Audio()
    video: Video = Video()
    worker: Worker = Worker()
    egress: tuple[Egress, ...] = Field((Egress(),), min_length=1, description="The ways out.")
    egress_dir: Path | None = Field(
        None,
        strict=False,
        description="Shared state of the egresses; null: DATADIR/.egress. Share it between all who share them.",
    )
    trusted_owners: tuple[Name, ...] = Field(
        (),
        description="Users whose symbolic links to directories are followed, besides your own and root's "
        "(docs/security.md).",
    )
    probe: Probe = Probe()
    youtube: Youtube = Youtube()
    output: Output = Output()
    slurm: Slurm = Slurm()

    @field_validator("data_dir", "egress_dir", mode="before")
    @classmethod
    def _path(cls, value: object) -> object:
        return expand_home(value) if isinstance(value, str) and value else value

    @field_validator("egress", "trusted_owners", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("egress")
    @classmethod
    def _unique_names(cls, value: tuple[Egress, ...]) -> tuple[Egress, ...]:
        names = [egress.name for egress in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names must differ, but these come twice: {', '.join(twice)}")
        return value

    @field_validator("egress")
    @classmethod
    def _slots_can_be_waited_for(cls, value: tuple[Egress, ...], info: ValidationInfo) -> tuple[Egress, ...]:
        burst = info.data["worker"].burst if "worker" in info.data else 0.0
        for egress in value:
            if (videos := egress.videos_per_hour) is None:
                continue
            apart = (1.1 * egress.window_seconds + burst) / (videos if videos < 1 else videos // 1)
            if apart > LONGEST_SECONDS:
                raise ValueError(
                    f"{egress.name}: one video in {apart / 86400:.3g} days (videos_per_hour: {videos:g}, "
                    f"window_seconds: {egress.window_seconds:g}, worker.burst: {burst:g}); expected at least one in "
                    f"{LONGEST_SECONDS // 86400}"
                )
        return value
