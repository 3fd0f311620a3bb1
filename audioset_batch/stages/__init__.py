"""Make one clip: resolve, fetch, cut, convert, write, verify."""
