#!/bin/sh
# start.sh: have the installed daemon run: under systemd where that runs, else in the background
# with a pid file. One that runs an older installation is replaced; machines run on meanwhile.
set -eu
. "$(dirname -- "$0")/places.sh"
need_root
installed=$(cat "$known/fingerprint")
started=$(cat "$run/fingerprint" 2>/dev/null || true)

if answers && [ "$installed" = "$started" ]; then
    exit 0
fi
if under_systemd; then
    say "starting heft.service"
    systemctl enable -q heft.socket heft.service
    systemctl start heft.socket
    systemctl restart heft.service
else
    if pid=$(running_pid); then
        say "replacing heftd (process $pid): machines run on"
        ended "$pid"
    fi
    say "starting heftd in the background; its log is $log"
    install -d -m 711 "$run"
    # shellcheck disable=SC2030  # for the one in the background alone
    (launcher=setsid && heftd --pid-file "$pid_file") </dev/null >>"$log" 2>&1 &
    child=$!
    tries=0
    until answers; do
        tries=$((tries + 1))
        if ! kill -0 "$child" 2>/dev/null || [ $tries -gt 300 ]; then
            echo "heftd did not start; the end of $log:" >&2
            tail -n 20 "$log" >&2
            exit 1
        fi
        sleep 0.1
    done
fi
echo "$installed" >"$run/fingerprint"
