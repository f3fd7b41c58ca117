#!/bin/sh
# stop.sh: end the daemon, its machines and its networks. What is stored stays.
set -eu
. "$(dirname -- "$0")/places.sh"
need_root
if under_systemd && [ -e "$units/heft.service" ]; then
    systemctl disable -q --now heft.socket heft.service
fi
if pid=$(running_pid); then
    ended "$pid"
fi
if [ -x "$prefix/bin/heftd" ] && [ -d "$data" ]; then
    say "stopping machines and networks"
    (heftd --teardown --log-level warning)
fi
rm -f "$pid_file" "$run/fingerprint" "$socket"
