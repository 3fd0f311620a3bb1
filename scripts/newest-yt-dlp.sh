#!/usr/bin/env bash
# Runs the tests of the resolver, the stand-in and the demo with the newest yt-dlp of the registry and its dependencies, which it
# installs into a temp folder: the environment in .venv stays as it is. YouTube changes, and yt-dlp with it.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/newest-yt-dlp.sh

Needs the environment of ./setup.sh --with test. The last line tells the result.
Status: 0 the tests passed, or the newest yt-dlp is the installed one, or there is no registry; 1 a test failed; 2 wrong usage.
TEXT
}

case ${1:-} in
    "") ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        printf 'newest-yt-dlp: unknown argument: %s\n' "$1" >&2
        usage >&2
        exit 2
        ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$PWD/.venv/bin/python
unset PIP_CONSTRAINT PIP_PRE # neither what is pinned nor what is not released
TESTS=(tests/youtube tests/standin tests/demo)

loudly() {
    cat <<TEXT
#############################################################################
  $1
#############################################################################
newest yt-dlp: $2
TEXT
}

there=$(mktemp -d)
trap 'rm -rf -- "$there"' EXIT
version='import json, sys; found = {p["metadata"]["name"]: p["metadata"]["version"] for p in json.load(sys.stdin)["install"]}; print(found["yt-dlp"])'
pip() { "$python" -m pip --disable-pip-version-check --retries 2 install --quiet --ignore-installed "$@" 'yt-dlp[default]' </dev/null; }

installed=$("$python" -c 'from importlib.metadata import version; print(version("yt-dlp"))')
if ! pip --dry-run --report "$there/report.json" 2>"$there/pip.log" || ! newest=$("$python" -c "$version" <"$there/report.json"); then
    tail -n 5 "$there/pip.log"
    loudly "NO REGISTRY ANSWERS: the newest yt-dlp was NOT TRIED." "not tried, no registry answers"
    exit 0
fi
if [ "$(printf '%s\n' "$installed" "$newest" | sort -V | tail -n 1)" = "$installed" ]; then
    echo "newest yt-dlp: $newest, and $installed is installed: no second run"
    exit 0
fi

echo "newest-yt-dlp: ${TESTS[*]} with $newest instead of $installed"
if ! pip --target "$there/packages" 2>"$there/pip.log"; then
    tail -n 5 "$there/pip.log"
    loudly "YT-DLP $newest CANNOT BE INSTALLED here, so it was NOT TRIED." "not tried, $newest cannot be installed"
    exit 0
fi
export PYTHONPATH=$there/packages${PYTHONPATH:+:$PYTHONPATH}
imported=$("$python" -c 'from audioset_batch.youtube.client import yt_dlp; print(yt_dlp.__file__)') || imported=nothing
if [[ $imported != "$there"/* ]]; then
    loudly "YT-DLP $newest WAS NOT TRIED: Python imports $imported" "not tried, Python imports $imported"
    exit 0
fi
status=0
"$python" -m pytest -n 2 --dist loadgroup -m "not slow" -p no:cacheprovider "${TESTS[@]}" || status=$?
if [ "$status" != 0 ]; then
    loudly "TESTS FAIL WITH THE NEWEST YT-DLP, $newest: see above. With $installed nothing is said here." \
        "$newest: tests FAILED (status $status)"
    exit 1
fi
echo "newest yt-dlp: $newest: all tests passed"
