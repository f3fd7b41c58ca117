"""Load a daemon in every way, look for what it leaves behind, and write docs/load.md.

    sudo make load                        all of it: ten minutes and more
    sudo make load ARGS="--minutes 1 --runs 500 --only crowd,short"    a part, not written down

It needs root, runs in network and mount namespaces of its own, and leaves nothing behind. The exit
status is 1 if something is not as it must be.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks import facts
from benchmarks.load import machines, page, streams
from benchmarks.load.api import IMAGE, Api
from benchmarks.load.figures import Figure, Part
from benchmarks.load.footprint import measure
from tests.harness.daemon import Daemon
from tests.harness.images import busybox_tar
from tests.harness.isolation import isolate

DOCS = Path(__file__).parents[2] / "docs" / "load.md"
SETTLE_SECONDS = 2.0
"""What is thrown away is deleted within this time."""
WARM_UP = 20

Work = Callable[[Api, Daemon], Awaitable[tuple[Figure, ...]]]


def parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    result = argparse.ArgumentParser(prog="benchmarks.load", description=__doc__.partition("\n")[0])
    result.add_argument("--minutes", type=float, default=5, help="that the crowd works")
    result.add_argument("--clients", type=int, default=100, help="of the crowd")
    result.add_argument("--idle", type=int, default=500, help="machines at once")
    result.add_argument("--many", type=int, default=1000, help="machines as fast as it goes")
    result.add_argument("--followers", type=int, default=50, help="half logs, half statistics")
    result.add_argument("--seconds", type=float, default=20, help="that they follow")
    result.add_argument("--log", type=int, default=1 << 30, help="bytes written to one log")
    result.add_argument("--leavers", type=int, default=1000, help="clients that go mid-stream")
    result.add_argument("--runs", type=int, default=10_000, help="short ones, one after another")
    result.add_argument("--only", default="", help="names of parts, with commas between")
    return result


def parts(asked: argparse.Namespace) -> dict[str, tuple[str, Work]]:
    """Give all parts by name: title, and what to do."""
    return {
        "idle": (
            f"{asked.idle} idle machines at once",
            lambda api, daemon: machines.idle(api, daemon, asked.idle),
        ),
        "many": (
            f"{asked.many} machines from one client process",
            lambda api, _: machines.many(api, asked.many),
        ),
        "crowd": (
            f"{asked.clients} clients for {asked.minutes:g} minutes",
            lambda api, _: machines.crowd(api, asked.clients, asked.minutes * 60),
        ),
        "followers": (
            f"{asked.followers} followers of logs and statistics",
            lambda api, daemon: streams.followers(api, daemon, asked.followers, asked.seconds),
        ),
        "log": (
            "A machine that fills its log",
            lambda api, daemon: streams.big_log(api, daemon, asked.log),
        ),
        "deaf": (
            "A client that does not read",
            lambda api, daemon: streams.deaf_client(api, daemon, asked.log // 4),
        ),
        "leavers": (
            "Clients that go in the middle of a stream",
            lambda api, _: streams.leavers(api, asked.leavers),
        ),
        "short": (
            f"{asked.runs} short runs, one after another",
            lambda api, _: machines.short_runs(api, WARM_UP, asked.runs),
        ),
    }


async def prepare(api: Api, daemon: Daemon) -> tuple[Figure, ...]:
    """Bring the image, and let the daemon do once all that it does only once."""
    daemon.request("POST", f"/images/create?fromSrc=-&repo={IMAGE}", busybox_tar())
    await machines.short_runs(api, 0, WARM_UP)
    await machines.many(api, WARM_UP)
    return await streams.leavers(api, WARM_UP)


async def load(daemon: Daemon, title: str, work: Work) -> Part:
    """Do one part, with connections of its own, and count before and after."""
    before = measure(daemon)
    async with Api(daemon.socket) as api:
        figures = await work(api, daemon)
    await asyncio.sleep(SETTLE_SECONDS)
    return Part(title, figures, before, measure(daemon))


async def everything(daemon: Daemon, wanted: dict[str, tuple[str, Work]]) -> list[Part]:
    """Do all parts, one after another, on one daemon."""
    found = []
    await load(daemon, "the beginning", prepare)
    for title, work in wanted.values():
        print(f"{title} …", flush=True)
        part = await load(daemon, title, work)
        for figure in part.figures:
            print(f"    {figure.what}: {page.shown(figure)}", flush=True)
        found.append(part)
    return found


def main() -> int:
    """Run the program."""
    asked = parser().parse_args()
    isolate()
    known = parts(asked)
    names = asked.only.split(",") if asked.only else list(known)
    with tempfile.TemporaryDirectory(prefix="heft-load-") as directory:
        daemon = Daemon(Path(directory), "--log-level", "warning").start()
        try:
            found = asyncio.run(everything(daemon, {name: known[name] for name in names}))
        finally:
            daemon.clean_up()
    text = page.text(found, facts.machine(), " ".join(sys.argv[1:]))
    print(text)
    if len(sys.argv) == 1:
        DOCS.write_text(text)
    failures = [f"{part.title}: {failure}" for part in found for failure in part.failures]
    print("\n".join(failures) or "all is as it must be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
