"""From clips to quantized embeddings: decoding and front end in threads, the network in batches across clips.

libsndfile, soxr and NumPy's FFT release the interpreter's lock, so threads are enough, and they work while the
network computes. Clips keep their order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused
from audioset_batch.learn.vggish.audio import clip_threads, decode
from audioset_batch.learn.vggish.frontend import BANDS, EXAMPLE_FRAMES, MIN_SAMPLES, examples
from audioset_batch.learn.vggish.inputs import Sound, audio_source
from audioset_batch.learn.vggish.variables import EMBEDDING

Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(N, 96, 64) log-mel examples -> (N, 128)."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A clip after the front end; `problem` says why it has no examples."""

    clip: Sound
    examples: NDArray[np.float32]
    duration: float
    problem: str = ""
    damaged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A clip with the network's output, (N, 128) float32, before PCA."""

    prepared: Prepared
    embeddings: NDArray[np.float32]


@dataclass(slots=True)
class Timing:
    """Where the seconds went.

    Attributes:
        network: Spent in the network.
        waiting: The network had nothing to do: the front end and the disk were not fast enough.
        front_end: Spent in reading, decoding, resampling and the front end, over all threads.
        audio: Seconds of sound.
    """

    network: float = 0.0
    waiting: float = 0.0
    front_end: float = 0.0
    audio: float = 0.0


def prepare(clip: Sound) -> Prepared:
    """Read, decode, resample, log-mel. A file that cannot be read is a result, not an error."""
    nothing = np.empty((0, EXAMPLE_FRAMES, BANDS), np.float32)
    try:
        samples, duration = decode(audio_source(clip), clip.name)
    except InputRefused as error:
        return Prepared(clip, nothing, 0.0, str(error), damaged=True)
    batch = examples(samples)
    if len(batch) == 0:
        problem = f"{clip.name}: too short: {samples.size} samples at 16 kHz, one example needs {MIN_SAMPLES}"
        return Prepared(clip, batch, duration, problem)
    return Prepared(clip, batch, duration)


def prepare_all(clips: Iterable[Sound], threads: int, stop: Callable[[], bool], timing: Timing) -> Iterator[Prepared]:
    """Prepared clips in order, a few per thread ahead of the consumer; after `stop()` no further clip is begun."""

    def timed(clip: Sound) -> tuple[Prepared, float]:
        begun = time.perf_counter()
        return prepare(clip), time.perf_counter() - begun

    remaining = iter(clips)
    ahead: deque[Future[tuple[Prepared, float]]] = deque()
    with clip_threads(threads) as pool:
        while True:
            while len(ahead) < 4 * threads and not stop():
                clip = next(remaining, None)
                if clip is None:
                    break
                ahead.append(pool.submit(timed, clip))
            if not ahead:
                return
            begun = time.perf_counter()
            prepared, seconds = ahead.popleft().result()
            timing.waiting += time.perf_counter() - begun
            timing.front_end += seconds
            timing.audio += prepared.duration
            yield prepared


def embed_all(clips: Iterable[Prepared], embed: Embed, batch_size: int, timing: Timing) -> Iterator[list[Embedded]]:
    """Groups of clips whose examples have all been through the network, in order.

    The network sees `batch_size` examples at a time whatever clip they are of; only the last batch is smaller.
    """
    waiting: deque[Prepared] = deque()
    queue: list[NDArray[np.float32]] = []
    done = np.empty((0, EMBEDDING), np.float32)
    queued = 0
    for prepared in clips:
        waiting.append(prepared)
        queue.append(prepared.examples)
        queued += len(prepared.examples)
        while queued >= batch_size:
            everything = np.concatenate(queue)
            done = np.concatenate([done, _timed(embed, everything[:batch_size], timing)])
            queue = [everything[batch_size:]]
            queued -= batch_size
            group, done = _take(waiting, done)
            yield group
    done = np.concatenate([done, _timed(embed, np.concatenate(queue), timing)]) if queued else done
    group, _ = _take(waiting, done)
    if group:
        yield group


def _timed(embed: Embed, batch: NDArray[np.float32], timing: Timing) -> NDArray[np.float32]:
    begun = time.perf_counter()
    result = embed(batch)
    timing.network += time.perf_counter() - begun
    return result


def _take(waiting: deque[Prepared], done: NDArray[np.float32]) -> tuple[list[Embedded], NDArray[np.float32]]:
    """The clips that `done` covers, taken off `waiting`, and the rows left over."""
    group, used = [], 0
    while waiting and used + len(waiting[0].examples) <= len(done):
        prepared = waiting.popleft()
        group.append(Embedded(prepared, done[used : used + len(prepared.examples)]))
        used += len(prepared.examples)
    return group, done[used:]
