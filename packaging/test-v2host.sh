#!/bin/sh
# test-v2host.sh [TEST…]: Heft's own light tests on a host with control groups v2 alone: a heavy
# machine with a whole Debian, in which Heft is installed as anywhere. See docs/testing.md.
set -eu
. "$(dirname -- "$0")/places.sh"
need_root
"$packaging/test-environment.sh"

# In the machine nothing can be fetched: what pip would, goes along.
wheels=$sources/.build/wheels
say "Python packages for the machine in .build/wheels"
mkdir -p "$wheels"
"$sources/.venv/bin/python" - "$sources/pyproject.toml" <<'PYTHON' >"$wheels/wanted"
import sys, tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)
print(*project["build-system"]["requires"], *project["project"]["dependencies"], sep="\n")
PYTHON
PIP_CONSTRAINT=$packaging/constraints.txt "$sources/.venv/bin/python" -m pip wheel \
    --quiet --disable-pip-version-check --no-input --wheel-dir "$wheels" -r "$wheels/wanted"

cd "$sources"
exec .venv/bin/python -m tests.harness.v2host "$@"
