#!/bin/sh
# test-xen.sh: Debian's Xen, a dom0 and a paravirtual guest in it, booted by QEMU under software
# translation. See docs/testing.md.
set -eu
. "$(dirname -- "$0")/places.sh"
need_root
"$packaging/test-environment.sh"
cd "$sources"
exec .venv/bin/python -m tests.harness.xen "$@"
