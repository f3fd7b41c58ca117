#!/bin/sh
# show.sh: make a Debian image if there is none, run it, and show what happened and how long it took.
set -eu
. "$(dirname -- "$0")/places.sh"
export HEFT_HOST="unix://$socket"

heft() {
    "$prefix/bin/heft" "$@"
}

# timed WORD...: show a heft command as it would be typed, run it, and say how long it took.
timed() {
    shown=
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=-]*) shown="$shown '$word'" ;;
        *) shown="$shown $word" ;;
        esac
    done
    printf '\n$ heft%s\n' "$shown"
    begin=$(date +%s%N)
    status=0
    heft "$@" || status=$?
    printf '[%d ms]\n' $((($(date +%s%N) - begin) / 1000000))
    return $status
}

if ! heft image inspect debian >/dev/null 2>&1; then
    say "making a Debian image from the distribution's packages (this takes a minute, once)"
    timed bootstrap debian
fi
foreign=
if [ -x "$prefix/libexec/heft-agent-arm64" ]; then
    foreign=linux/arm64
    if ! heft image inspect debian:latest-arm64 >/dev/null 2>&1; then
        say "making one for arm64, by an emulator (this takes a minute or two, once)"
        timed bootstrap --platform $foreign debian || foreign=
    fi
fi
timed images debian
# shellcheck disable=SC2016  # it is the machine's shell that is to put in what they stand for
timed run --rm debian sh -c 'echo "Debian $(cat /etc/debian_version) on $(hostname): process $$"'
timed run --rm --memory 64m --cpus 0.5 --network none debian true
# Kernels of guests are fetched here, so that what is measured below takes as long every time. What
# cannot be fetched, `heft weigh` says.
for kit in uml debian ${foreign:+debian-arm64}; do
    if ! heft kit inspect "$kit" >/dev/null 2>&1; then
        timed kit pull "$kit" || true
    fi
done
timed weights
say "measuring that image at every weight that works here (half a minute, or a whole one with arm64)"
# shellcheck disable=SC2086  # none, or two words
timed weigh ${foreign:+--platform $foreign} debian
if [ -n "${SUDO_USER:-}" ]; then
    printf '\nTo use heft without sudo (and be as powerful as root): usermod -aG heft %s\n' \
        "$SUDO_USER"
fi
