"""Clips out of streams: bytes by ranges, exact cuts, conversion, writing and verification.

Knows nothing of yt-dlp: a stream is a `ByteSource`. The modules, in the order of a clip's way:

    source      the bytes, by ranges, remembered and capped
    opening     which container it is
    boxes, tables, fragments, mp4            MP4: progressive, or fragments with an index
    ebml, clusters, webm_header, webm        WebM with cues
    hls                                      segments of a playlist, where there is no file
    generic     everything else, through FFmpeg's own demuxers
    audio, video                             decode and cut
    convert, write, verify                   sox, libsndfile, and the look at what was written
"""
