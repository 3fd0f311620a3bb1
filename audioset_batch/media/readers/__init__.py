"""Container readers: where the samples of a stream lie, and just the bytes that hold a clip."""
