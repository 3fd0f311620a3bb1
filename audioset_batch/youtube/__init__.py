"""Everything outside this package, each behind modules of its own: yt-dlp, media, sox, SLURM, shared filesystems."""

from audioset_batch.adapters.ytdlp_versions import activate

activate()  # the modules of this package import yt_dlp
