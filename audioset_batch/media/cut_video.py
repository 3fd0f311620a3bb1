"""Cut a video clip: exactly, by decoding and encoding again, or by copying from the keyframe before."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from audioset_batch.config.schema import Video
from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.media.cut_audio import AudioClip, audio_range, audio_track, cut_audio, decode_audio
from audioset_batch.media.decoding import open_decoder
from audioset_batch.media.mux import H264Copy, SoundTrack, open_output, picture_encoder
from audioset_batch.media.readers.demux import Media, Sample, Track, TrackRange, UnexpectedLayout
from audioset_batch.media.readers.opening import with_media
from audioset_batch.media.readers.source import ByteSource, StreamHint
from audioset_batch.reasons import Reason


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded frame and when it is shown, in seconds of the source."""

    time: Fraction
    frame: Any


@dataclass(frozen=True, slots=True)
class VideoClip:
    """An mp4 in memory, and the properties that it must have when it is read back.

    Attributes:
        data: The bytes of the file.
        start_seconds: Where in the source the file's time zero lies.
        frames: Pictures.
        duration_seconds: Of the pictures.
        sound_seconds: Of the sound, or None without sound.
    """

    data: bytes
    start_seconds: float
    frames: int
    duration_seconds: float
    sound_seconds: float | None


def cut_video(
    source: ByteSource,
    start_ms: int,
    end_ms: int,
    video: Video,
    *,
    hint: StreamHint | None = None,
    sound: AudioClip | None = None,
    sound_source: ByteSource | None = None,
    sound_hint: StreamHint | None = None,
) -> VideoClip:
    """Fetch [start_ms, end_ms) of the video of `source` and make it an mp4 with H.264.

    With `video.cut: copy` a stream of another codec is encoded, as with `exact`.

    Args:
        source: `bestvideo`, `bestvideowithaudio`: the video stream; `bestvideoaudio`: the stream with both.
        start_ms, end_ms: The segment.
        video: Mode, cut, frame rate, height, quality.
        hint: About `source`.
        sound: For `bestvideowithaudio` cut exactly: the segment's audio as `cut_audio` gave it, which saves fetching
            it again.
        sound_source, sound_hint: For `bestvideowithaudio` without `sound`, or with `video.cut: copy`, where the
            sound begins at the keyframe as well.

    Raises:
        SegmentUnavailable: `no_video`, `no_audio`, `segment_past_end`.
        SegmentTransient: `truncated`, `decode_error`, and whatever the sources raise.
    """
    if video.mode == "bestvideowithaudio" and sound_source is None and (sound is None or video.cut == "copy"):
        raise ValueError("video mode bestvideowithaudio needs the sound, or a source of it")
    start, stop = Fraction(start_ms, 1000), Fraction(end_ms, 1000)
    label = source.url_label

    def from_media(media: Media) -> VideoClip:
        track = _video_track(media, label)
        # The output is mp4 with H.264: no other codec can be copied into it.
        copying = video.cut == "copy" and track.codec == "h264" and track.extradata[:1] == b"\1"  # not of MPEG-TS
        own_sound = audio_track(media, label) if video.mode == "bestvideoaudio" else None
        ranges = [TrackRange(track, start, stop, Fraction(0))]
        if own_sound is not None:
            # A copy begins at the keyframe, and so does its sound: read both at once where the keyframe is known.
            known = media.keyframe(track, start) if copying else start
            ranges.append(audio_range(own_sound, start if known is None else known, stop))
        samples, *others = media.read(ranges)
        origin = _first_shown(samples, track, start, label) if copying else start
        clip = None
        if own_sound is not None:
            if origin < ranges[1].start:
                others = media.read([audio_range(own_sound, origin, stop)])
            clip = _sound_or_none(own_sound, others[0], origin, stop, label)
        elif video.mode == "bestvideowithaudio":
            clip = None if copying else sound
            if clip is None and sound_source is not None:
                clip = cut_audio(sound_source, round(origin * 1000), end_ms, hint=sound_hint)
        if copying:
            return _copy(track, samples, origin, clip, label)
        return _encode(track, samples, start, stop, clip, video, label)

    return with_media(source, hint or StreamHint(has_video=True, has_audio=False), from_media)


def _video_track(media: Media, label: str) -> Track:
    if not media.tracks:
        raise UnexpectedLayout("no track that can be decoded")
    for track in media.tracks:
        if track.kind == "video":
            return track
    raise SegmentUnavailable(Reason.NO_VIDEO, f"{label}: no video track that can be decoded")


def _sound_or_none(
    track: Track, samples: list[Sample], start: Fraction, stop: Fraction, label: str
) -> AudioClip | None:
    """The sound; None if it ends before `start`."""
    try:
        return decode_audio(track, samples, start, stop, label)
    except SegmentUnavailable:
        return None


def _first_shown(samples: list[Sample], track: Track, start: Fraction, label: str) -> Fraction:
    ends = max((sample.pts for sample in samples), default=0) * track.time_base + _usual_interval(samples, track)
    if not samples or ends <= start:
        raise _past_end(label, start)
    return max(samples[0].pts * track.time_base, Fraction(0))


def _past_end(label: str, start: Fraction) -> SegmentUnavailable:
    return SegmentUnavailable(Reason.SEGMENT_PAST_END, f"{label}: the video ends before {float(start):.3f} s")


def decode_pictures(track: Track, samples: list[Sample], label: str) -> Iterator[Picture]:
    """Decode in presentation order.

    Raises:
        SegmentTransient: `decode_error`.
    """
    context: Any = open_decoder(track, label)
    for sample in (*samples, None):
        packet = None
        if sample is not None:
            packet = av.Packet(sample.data)
            packet.pts, packet.dts, packet.time_base = sample.pts, sample.dts, track.time_base
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: {track.codec}: {error}") from error
        for frame in frames:
            if frame.pts is not None:
                yield Picture(frame.pts * track.time_base, frame)


def _encode(
    track: Track,
    samples: list[Sample],
    start: Fraction,
    stop: Fraction,
    sound: AudioClip | None,
    video: Video,
    label: str,
) -> VideoClip:
    buffer = io.BytesIO()
    usual = _usual_interval(samples, track)
    try:
        with open_output(buffer) as output:
            encoder: Any = None
            added = SoundTrack.add(output, sound)
            frames, end = 0, start
            for time, duration, picture in _shown(track, samples, start, stop, video, usual, label):
                if encoder is None:
                    encoder = picture_encoder(output, picture, video, usual)
                output.mux(encoder.encode(picture, time - start))
                frames, end = frames + 1, time + duration
            if encoder is None:
                raise _past_end(label, start)
            output.mux(encoder.flush())
            if added is not None:
                added.write(output)
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: cannot encode: {error}") from error
    return VideoClip(
        buffer.getvalue(), float(start), frames, float(end - start), sound.duration_seconds if sound else None
    )


def _usual_interval(samples: list[Sample], track: Track) -> Fraction:
    """Seconds between pictures: the median."""
    times = sorted(sample.pts for sample in samples)
    steps = sorted(b - a for a, b in pairwise(times) if b > a)
    return steps[len(steps) // 2] * track.time_base if steps else Fraction(1, 25)


def _shown(
    track: Track,
    samples: list[Sample],
    start: Fraction,
    stop: Fraction,
    video: Video,
    usual: Fraction,
    label: str,
) -> Iterator[tuple[Fraction, Fraction, Any]]:
    """The pictures to encode, as (time, seconds shown, frame) with times in [start, stop).

    At each time, the source's picture that is on screen then. With `frame_rate: keep` the times are the source's, and
    the picture on screen at the start comes first.
    """
    pictures = decode_pictures(track, samples, label)
    # Container times are rounded (WebM: to 1 ms); a picture this little later counts as on screen.
    early = min(usual / 4, Fraction(1, 500))
    step = None if video.frame_rate == "keep" else 1 / Fraction(video.frame_rate).limit_denominator(1001)
    current: Picture | None = None
    count = 0
    for picture in _with_end(pictures, usual):
        if current is None and picture.frame is not None and picture.time > start + usual + early:
            # The video begins later than the segment: the first picture is shown from the start.
            current = Picture(start, picture.frame)
        if current is not None:
            shown_until = min(picture.time, stop)
            if step is None:
                begin = max(current.time, start) if count else start
                if shown_until > begin + (0 if picture.frame is None else early):
                    yield begin, shown_until - begin, current.frame
                    count += 1
            else:
                while (due := start + count * step) < stop and due < shown_until - early:
                    yield due, step, current.frame
                    count += 1
        current = picture
        if picture.time >= stop:
            return


def _with_end(pictures: Iterator[Picture], usual: Fraction) -> Iterator[Picture]:
    """Add a picture without a frame, at the time until which the last one is shown."""
    last: Picture | None = None
    for last in pictures:
        yield last
    if last is not None:
        yield Picture(last.time + usual, None)


def _copy(track: Track, samples: list[Sample], origin: Fraction, sound: AudioClip | None, label: str) -> VideoClip:
    buffer = io.BytesIO()
    usual = _usual_interval(samples, track)
    try:
        with open_output(buffer) as output:
            copy = H264Copy.add(output, track, usual)
            added = SoundTrack.add(output, sound)
            output.start_encoding()
            for packet in copy.packets(samples, round(origin / track.time_base)):
                output.mux(packet)
            if added is not None:
                added.write(output)
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: cannot copy {track.codec}: {error}") from error
    last = max(sample.pts for sample in samples) * track.time_base
    return VideoClip(
        buffer.getvalue(),
        float(origin),
        len(samples),
        float(last + usual - origin),
        sound.duration_seconds if sound else None,
    )


def write_video(clip: VideoClip, path: Path) -> None:
    """Write `clip` to `path`, in one go.

    Raises:
        OSError: the file cannot be written. Not translated, because only the caller knows what the path means.
    """
    with path.open("wb") as file:
        file.write(clip.data)
