#!/bin/sh
# test-environment.sh: what the tests need, besides an installed Heft: Debian packages, and a
# Python environment in .venv that runs the sources where they are. Again is quick.
set -eu
. "$(dirname -- "$0")/places.sh"
"$packaging/packages.sh" run arm64 foreign test

# dockerode's tests are for hosts that have npm: Debian's would bring along 400 packages.
node=$sources/tests/clients/dockerode
if command -v npm >/dev/null && ! cmp -s "$node/package-lock.json" "$node/node_modules/.installed"
then
    say "Node packages for the tests in tests/clients/dockerode"
    (cd "$node" && npm ci --silent --ignore-scripts --no-audit --no-fund) &&
        cp "$node/package-lock.json" "$node/node_modules/.installed"
fi

environment=$sources/.venv
now=$({ /usr/bin/python3 --version && cat "$sources/pyproject.toml" "$packaging/constraints.txt" &&
    echo "$sources"; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$environment/fingerprint" 2>/dev/null)" != "$now" ]; then
    say "Python environment for the tests in .venv"
    /usr/bin/python3 -m venv "$environment"
    PIP_CONSTRAINT=$packaging/constraints.txt "$environment/bin/python" -m pip install \
        --quiet --disable-pip-version-check --no-input --editable "${sources}[test]"
    echo "$now" >"$environment/fingerprint"
fi

# Tests run where no package archive can be reached: the kernels of their guests, a program of
# another architecture, and the Debian that one of them boots, are fetched here.
if [ "$(id -u)" -eq 0 ]; then
    (cd "$sources" && "$environment/bin/python" -m tests.harness.kit &&
        "$environment/bin/python" -m tests.harness.foreign &&
        "$environment/bin/python" -m tests.harness.whole_system)
fi
