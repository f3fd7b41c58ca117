"""How long `cp` takes: one large file and many small ones, each way, beside dockerd.

    python -m benchmarks.copies [--rounds 5] [--files 20000] [--prefix /opt/heft]

It needs root, runs in network and mount namespaces of its own, and leaves nothing behind. The image
is busybox's, as nothing but files is moved.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import engines
from benchmarks.engines import IMAGE, Engine, docker_client, plain
from benchmarks.measure import Case, Sample, command, interleaved
from tests.harness.images import busybox_tar
from tests.harness.isolation import isolate

LARGE = 200 << 20
"""Bytes of the one large file."""
SMALL = 20_000
"""Files of 1 KiB, a hundred a directory."""


def sources(directory: Path, files: int) -> dict[str, Path]:
    """Make what is copied; by name."""
    large, small = directory / "large", directory / "small"
    large.write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
    content = os.urandom(1024)
    for number in range(files):
        place = small / str(number // 100)
        if number % 100 == 0:
            place.mkdir(parents=True)
        (place / str(number)).write_bytes(content)
    return {"200 MB file": large, f"{files} small files": small}


def measure(
    directory: Path, made: dict[str, Path], heft: Engine, docker: Engine, rounds: int
) -> dict[str, Sample]:
    """Time every copy, client and all; by name, in ms."""
    assert heft.daemon is not None
    clients = {
        "docker → Heft": (docker_client(heft.daemon.socket), plain()),
        "docker → dockerd": (docker.client, docker.environment),
        "heft": (heft.client, heft.environment),
    }
    target = directory / "target"
    cases = {}
    for what, source in made.items():
        for client, (words, environment) in clients.items():
            said = (*words, "exec", "box", "rm", "-rf", f"/{source.name}")
            clean = command(said, environment)
            into = command((*words, "cp", str(source), f"box:/{source.name}"), environment)
            out = command((*words, "cp", f"box:/kept/{source.name}", str(target)), environment)
            cases[f"{what} in, {client}"] = Case(into, clean)
            cases[f"{what} out, {client}"] = Case(out, lambda: remove(target))
    return interleaved(cases, rounds, warm_up=0)


def remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()


def start(directory: Path, engine: Engine) -> None:
    """Run a machine that has the files too, in a directory of the same names."""
    tar = directory / "busybox.tar"
    tar.write_bytes(busybox_tar())
    engine.do("import", str(tar), IMAGE)
    engine.say(engine.run("-d", "--name", "box", "--network", "none", IMAGE, "sleep", "100000"))
    engine.do("exec", "box", "mkdir", "/kept")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=SMALL)
    parser.add_argument("--prefix", type=Path, default=Path("/opt/heft"))
    options = parser.parse_args()
    isolate()
    group = f"/heft-bench-{os.getpid()}"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heft-copies-")))
        stack.callback(engines.remove_groups, group)
        heft = stack.enter_context(engines.heft(directory / "heft", options.prefix, group))
        docker = stack.enter_context(engines.dockerd(directory / "docker", group))
        place = directory / "files"
        place.mkdir()
        made = sources(place, options.files)
        for engine in (heft, docker):
            start(directory, engine)
            stack.callback(engine.do, "rm", "-f", "box")
            for source in made.values():
                engine.do("cp", str(source), "box:/kept/")
        show(measure(place, made, heft, docker, options.rounds))


def show(found: dict[str, Sample]) -> None:
    for name, sample in found.items():
        what = name.rpartition(", ")[0]
        base = found[f"{what}, docker → dockerd"].median
        print(f"{name:45} {sample.median:8.0f} ms  ÷ {sample.median / base:.2f}")


if __name__ == "__main__":
    subprocess.run(("sync",), check=True)
    main()
