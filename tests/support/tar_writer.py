"""A worker's order of things with made-up bytes, for tests that kill it: sample, then row; run as a script."""

import hashlib
import random
import sys
import tempfile
from pathlib import Path

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import ManifestWriter, replay
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.worker.tar_sink import TarSink, sample_json

SHARD = ShardId("eval_segments", 1)


def segment(number: int) -> Segment:
    """A segment of its own for each number."""
    return Segment("eval_segments", f"{number:011d}", 10_000, 20_000, ("/m/0a1",))


def content(number: int) -> bytes:
    """The bytes of its clip, always the same; 1 to 120 kB."""
    rng = random.Random(number)
    return rng.randbytes(rng.randrange(1_000, 120_000))


def write(root: Path, count: int, tar_bytes: int = 400_000) -> None:
    """Write what is left of the first `count` segments."""
    data = DataDir(root)
    with Lease.acquire(data.lease(SHARD), Holder.current(), 60) as lease:
        staging = Path(tempfile.mkdtemp(dir=root))
        known = replay(data.manifest(SHARD))
        fence = lease.predecessor_may_live
        sink = TarSink(data, SHARD, known, staging, tar_bytes=tar_bytes, names={}, fence=fence)
        print("begun", flush=True)
        with ManifestWriter(data.manifest(SHARD)) as manifest:
            for number in range(count):
                one = segment(number)
                if one.key in known and known[one.key].ok and one.key not in sink.lost:
                    continue
                audio = content(number)
                facts = {"audio_sha256": hashlib.sha256(audio).hexdigest(), "audio_bytes": len(audio)}
                stem = data.stem(one)
                where = sink.add(stem, [(f"{stem}.flac", audio)], sample_json(one, facts, {}))
                row = ManifestRow(
                    subset=one.subset,
                    shard=1,
                    ytid=one.ytid,
                    start_seconds=one.start_ms / 1000,
                    end_seconds=one.end_ms / 1000,
                    labels=",".join(one.labels),
                    status=Status.OK,
                    **facts,
                    **where,
                )
                manifest.append(row)
        sink.finish()
        sink.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
