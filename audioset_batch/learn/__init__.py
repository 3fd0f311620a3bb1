"""From released features or embeddings of your own clips to a classifier. Never imports the download."""
