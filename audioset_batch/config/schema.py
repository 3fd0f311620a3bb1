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
    """Where the segment lists come from, and which of them to process."""

    base_url: Name = Field(DEFAULT_BASE_URL, description="Folder with the segment CSVs: http(s)://, file:// or a path.")
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
    channels: Literal["keep", 1, 2] = Field(
        "keep", description="1 mixes down to mono, 2 duplicates mono, `keep` keeps the channels of the source."
    )
    track: Literal["original", "any"] = Field(
        "original",
        description="What to do if YouTube lists the original sound track without an address: `original` records "
        "the segment as `failed` (`no_usable_format`), `any` takes a dubbed track. See docs/formats.md.",
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
    """The video file of a clip, if there is one."""

    mode: Literal["none", "bestvideo", "bestvideoaudio", "bestvideowithaudio"] = Field(
        "none",
        description="audiosetdl's modes. `bestvideo`: the best video stream, no sound in the file; "
        "`bestvideoaudio`: the best single stream that has both; `bestvideowithaudio`: the best video stream "
        "joined with the best audio stream.",
    )
    format: Literal["mp4"] = Field("mp4", description="Container of the video files.")
    frame_rate: Literal["keep"] | Annotated[Number, Field(gt=0, le=240)] = Field(
        30, description="Frames per second of exact cuts, or `keep`."
    )
    cut: Literal["exact", "copy"] = Field(
        "exact",
        description="`exact` re-encodes; `copy` copies the stream from the keyframe before the start.",
    )
    max_height: Annotated[int, Field(ge=16)] | None = Field(
        None,
        description="Maximum height in pixels: larger streams are not fetched, and video is scaled down to "
        "it; null: no limit.",
    )
    codec: Literal["h264"] = Field("h264", description="Video codec of exact cuts.")
    crf: Annotated[int, Field(ge=0, le=51)] = Field(23, description="Quality of exact cuts; lower is better.")
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        Field("veryfast", description="Trade-off between speed and file size for exact cuts.")
    )


class Worker(Section):
    """How a worker processes its shards."""

    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = Field(
        "auto", description="Number of processes; `auto`: the CPUs of the SLURM task (or of the machine)."
    )
    threads: Annotated[int, Field(ge=1, le=512)] = Field(
        8, description="Segments in flight, over all processes of the worker."
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        3, description="Retries after a transient error within one run."
    )
    backoff_seconds: Seconds = Field(
        2.0, description="Pause before the first retry; it doubles with each retry, with jitter."
    )
    backoff_max_seconds: Seconds = Field(60.0, description="Maximum pause between two retries.")
    segment_timeout: Seconds = Field(300.0, description="Time limit for one attempt at a segment.")
    grace_seconds: Duration = Field(
        20.0, description="Time to finish the segments in flight when the worker has to stop; the rest stays pending."
    )
    order: Literal["csv", "rare-first", "random"] = Field(
        "csv",
        description="Order of the queue. `rare-first`: by the rarest label of a segment, counted over the whole "
        "plan. In each order, segments that failed before come last, followed by videos that `screen` found "
        "unavailable.",
    )
    max_clip_bytes: Annotated[Bytes, Field(ge=65536)] = Field(
        200_000_000, description="Maximum number of bytes to fetch for one stream of a clip."
    )
    max_requeues: Annotated[int, Field(ge=0)] = Field(
        5,
        description="Maximum number of consecutive requeues without a finished segment. Requeues because all "
        "egresses are paused or the disk is full do not count.",
    )
    hold_seconds: Seconds = Field(
        600.0,
        description="Under SLURM, no task holds its node for a longer wait. If the end of every pause and the next "
        "slot of every budget are further away, the task requeues itself to start then; for a slot, not while "
        "outcomes depend on it. Without SLURM, tasks wait.",
    )
    burst: Annotated[Duration, Field(le=86400)] = Field(
        0.0,
        description="Maximum age of slots that may still be used, so that a SLURM task can leave its node in "
        "between; 0: off. Use the same value for all who share egress_dir. It lowers the rate to window / "
        "(window + burst). See docs/planning.md.",
    )
    temp_dir: Literal["shared", "node"] | Annotated[str, Form("a path"), Field(pattern=r"^[/~$].")] = Field(
        "shared",
        description="Folder for temporary files: `shared` (DATADIR/.tmp), `node` (SLURM_TMPDIR, else TMPDIR, else "
        "/tmp), or a path, in which environment variables of the job are expanded. See docs/layouts.md.",
    )
    lease_seconds: Seconds = Field(
        120.0, description="Another worker can take over the lease of a shard that was not renewed for this long."
    )
    state_seconds: Seconds = Field(30.0, description="Minimum interval between two writes of the state file.")

    @model_validator(mode="after")
    def _burst_is_worth_it(self) -> Worker:
        if self.burst > 0 and 0.75 * self.burst <= self.hold_seconds:
            raise ValueError(
                f"burst of {self.burst:g} s: no task is away for less than hold_seconds ({self.hold_seconds:g} s), so "
                f"choose more than {self.hold_seconds / 0.75:g} s, or 0"
            )
        return self


class Egress(Section):
    """One route to the internet, and its limits."""

    name: Annotated[
        str,
        Form("up to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit"),
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    ] = Field("direct", description="Name in manifests and reports.")
    proxy: str | None = Field(
        None,
        description="Proxy URL, with user and password percent-encoded; null: use the usual environment variables.",
    )
    proxy_file: Path | None = Field(
        None,
        strict=False,
        description="File whose only line is the proxy URL, instead of `proxy`: for a password that others must not "
        "read in the config.",
    )
    cookies: Path | None = Field(
        None,
        strict=False,
        description="Netscape cookie file. YouTube may close its account. Each worker uses a private copy.",
    )
    source_address: str | None = Field(None, description="Local address to send from.")
    videos_per_hour: Annotated[Number, Field(gt=0, le=1_000_000)] | None = Field(
        300.0, description="Budget of resolves per window, for everybody who shares egress_dir; null: no budget."
    )
    window_seconds: Seconds = Field(3600.0, description="Length of the sliding window for `videos_per_hour`.")
    concurrent: Annotated[int, Field(ge=1, le=512)] = Field(
        8, description="Videos in flight through this egress per task."
    )
    max_wait: Duration = Field(
        3600.0,
        description="A longer pause ends the run (exit status 75) if no other egress is open; under SLURM, also one "
        "longer than `worker.hold_seconds`.",
    )
    pause_seconds: Seconds = Field(900.0, description="First pause after a block.")
    pause_factor: Annotated[Number, Field(ge=1, le=1000)] = Field(
        2.0, description="Factor for the next pause if the block continues."
    )
    pause_max_seconds: Seconds = Field(14400.0, description="Maximum pause.")

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
    """Videos that are known to be available, and when to resolve one."""

    ytids: tuple[Annotated[str, Form("video ids of 11 characters"), Field(pattern=r"^[A-Za-z0-9_-]{11}$")], ...] = (
        Field(
            ("jNQXAC9IVRw", "dQw4w9WgXcQ", "9bZkp7q19f0"),
            description="Long-lived public videos: one is resolved before a paused egress opens again.",
        )
    )
    nonexistent_share: Annotated[Number, Field(gt=0, le=1)] = Field(
        0.5, description="Probe if more than this share of the recent resolves says `nonexistent`."
    )
    recent: Annotated[int, Field(ge=2, le=100_000)] = Field(20, description="Number of resolves that count as recent.")

    @field_validator("ytids", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class Youtube(Section):
    """How yt-dlp is called."""

    args: tuple[str, ...] = Field((), description="Options of the yt-dlp command, parsed by yt-dlp itself.")
    player_skip: tuple[Literal["webpage", "configs", "js", "initial_data"], ...] = Field(
        ("webpage", "configs", "initial_data"),
        description="Requests that yt-dlp leaves out when it resolves a video; []: none.",
    )
    update: Literal["never", "weekly"] = Field(
        "never",
        description="`weekly`: the first task after a week installs a newer yt-dlp, if there is one, and tests it "
        "before its own work begins; later tasks use it. See docs/yt-dlp.md.",
    )
    lean: bool = Field(
        True,
        description="First ask only the player clients that need no player script (one request per video), and the "
        "others only if these do not settle it. Off with cookies, or with a player_client in args.",
    )

    wordings: dict[str, Reason] = Field(
        {},
        description="Maps refusals in words that this version does not know (`unrecognized`) to a reason: a text "
        "that they contain (case-insensitive), and the reason, e.g. `{this video took a holiday: removed}`. Bans "
        "and known words keep their meaning.",
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
        "files", description="One file per clip, or tar files in the WebDataset format."
    )
    tar_bytes: Annotated[Bytes, Field(ge=1_000_000)] = Field(
        1_000_000_000, description="Maximum size of a tar, unless a single clip is larger."
    )


class Slurm(Section):
    """Resources for `submit`. Plain sbatch uses the #SBATCH lines of the scripts instead."""

    partition: str | None = Field(None, description="Partition; null: the cluster's default.")
    account: str | None = Field(None, description="Account to charge.")
    qos: str | None = Field(None, description="Quality of service.")
    mail_user: str | None = Field(None, description="Mail address for messages about the jobs.")
    mail_type: str | None = Field(None, description="Events that send mail, e.g. END,FAIL.")
    time: Annotated[
        str,
        Form("SLURM's notation, in quotes", ': `"24:00:00"`, `"1-12:00:00"`, or minutes: `"90"`'),
        Field(pattern=r"^(\d+|(\d+-)?\d{1,2}(:\d{2}){0,2}|\d+:\d{2}(:\d{2})?)$"),
    ] = Field("24:00:00", description="Time limit of one array task.")
    cpus_per_task: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="CPUs of one array task; `auto`: as many as the budgets of the egresses keep busy."
    )
    mem: (
        Literal["auto"]
        | Annotated[str, Form("a number and K, M, G or T", ": `600M`, `4G`"), Field(pattern=r"^\d+[KMGT]?$")]
    ) = Field("auto", description="Memory of one array task; `auto`: 600M for audio, more if video is encoded.")
    array_parallelism: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="Array tasks that run at the same time (the % of --array); `auto`: one for the audio of up to "
        "about 9,000 videos an hour.",
    )
    signal_seconds: Annotated[WholeSeconds, Field(le=65535)] = Field(
        180, description="How long before the time limit SLURM warns the worker."
    )
    modules: tuple[str, ...] = Field((), description="Environment modules to load in each job.")
    setup: tuple[str, ...] = Field((), description="Shell commands to run before each job.")
    extra: dict[str, str | int | bool] = Field(
        {}, description="Further sbatch options, e.g. {constraint: ib}; use true for options without a value."
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
    egress: tuple[Egress, ...] = Field((Egress(),), min_length=1, description="The egresses.")
    egress_dir: Path | None = Field(
        None,
        strict=False,
        description="Folder for the shared state of the egresses; null: DATADIR/.egress. Share it between all who "
        "share the egresses.",
    )
    trusted_owners: tuple[Name, ...] = Field(
        (),
        description="Users whose symbolic links to directories are followed, in addition to yours and root's "
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
