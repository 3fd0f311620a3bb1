#!/usr/bin/env bash
# Writes constraints.txt anew: every package, with all extras, at the newest versions that pip finds.
# Run it with the oldest Python that is supported, for what it installs is what newer ones can install too.
#     scripts/make-constraints.sh [PYTHON]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-python3.11}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "make-constraints: $python is not Python 3.11, the oldest supported" >&2
    exit 1
}
temporary=$(mktemp -d)
trap 'rm -rf -- "$temporary"' EXIT
"$python" -m pip install --quiet --dry-run --ignore-installed --report "$temporary/report.json" '.[test,learn,javascript,webdataset]'
"$python" - "$temporary/report.json" >"$temporary/constraints.txt" <<'PYTHON'
import json
import pathlib
import sys

found = json.loads(pathlib.Path(sys.argv[1]).read_text())["install"]
pins = {item["metadata"]["name"]: item["metadata"]["version"] for item in found}
pins.pop("audioset-batch")
print("# Written by scripts/make-constraints.sh; used by setup.sh. Tried on Python 3.11 to 3.13.")
for name in sorted(pins, key=str.lower):
    print(f"{name}=={pins[name]}")
PYTHON
mv "$temporary/constraints.txt" constraints.txt
echo "make-constraints: $(grep -c == constraints.txt) packages in constraints.txt"
