"""From released features or embeddings of your own clips to a classifier. Never imports the download."""

from typing import Final

INSTALL_EXTRA: Final = "run ./setup.sh --with learn, or in your own environment pip install 'audioset-batch[learn]'"
"""How to get the packages that only these commands need."""
