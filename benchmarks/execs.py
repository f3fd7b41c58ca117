"""How long a further process in a machine takes, from the command to its end."""

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import IMAGE, plain
from benchmarks.measure import Case, command, interleaved
from benchmarks.rows import Outcome, ratio

NAME = "bench-exec"


def measure(bench: Bench) -> Outcome:
    """Time `exec true` in a machine that runs, client and all."""
    idle = ("--detach", "--name", NAME, "--network", "none", IMAGE, "sleep", "1000000")
    for engine in (bench.heft, bench.docker):
        engine.say(engine.run(*idle))
    commands = {
        f"{name}, exec": ((*client, "exec", NAME, "true"), plain())
        for name, client in bench.clients.items()
    }
    commands["heft, exec"] = (bench.heft.command("exec", NAME, "true"), bench.heft.environment)
    found = interleaved({name: Case(command(*it)) for name, it in commands.items()}, bench.rounds)
    for engine in (bench.heft, bench.docker):
        engine.do("rm", "--force", NAME)
    what = "`docker exec MACHINE true`, Heft ÷ dockerd"
    row = ratio(what, 0.5, found[f"{HEFT}, exec"], found[f"{DOCKERD}, exec"])
    return Outcome((row,), found)
