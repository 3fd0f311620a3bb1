"""One segment's walk: resolve, fetch, cut, convert, write, verify."""
