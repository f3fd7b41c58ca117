"""`--change`: instructions of a Dockerfile applied to a configuration."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import InvalidArgument
from heft.images.changes import apply_changes
from heft.model.config import Config, HealthConfig


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        (['CMD ["a", "b c"]'], "cmd", ["a", "b c"]),
        (["CMD echo $HOME"], "cmd", ["/bin/sh", "-c", "echo $HOME"]),
        (["cmd a"], "cmd", ["/bin/sh", "-c", "a"]),
        (["CMD []"], "cmd", []),
        (["CMD [1]"], "cmd", ["/bin/sh", "-c", "[1]"]),
        (['ENTRYPOINT ["/init"]'], "entrypoint", ["/init"]),
        (["ENV A=1 B='two words' C=\"x y\""], "env", ["A=1", "B=two words", "C=x y"]),
        (["ENV A some words"], "env", ["A=some words"]),
        (["ENV A=1", "ENV A=2 B=$A"], "env", ["A=2", "B=1"]),
        (["ENV A=1", "ENV B=${A}-${X:-none} C=${A:+set} D=\\$A"], "env",
         ["A=1", "B=1-none", "C=set", "D=$A"]),
        (["EXPOSE 80 53/udp 9000-9001"], "exposed_ports",
         {"80/tcp": {}, "53/udp": {}, "9000/tcp": {}, "9001/tcp": {}}),
        (["HEALTHCHECK NONE"], "healthcheck", HealthConfig(test=["NONE"])),
        (["HEALTHCHECK CMD a || b"], "healthcheck", HealthConfig(test=["CMD-SHELL", "a || b"])),
        (['healthcheck  --interval=1m30.5s --retries=2  cmd ["a", "b"]'], "healthcheck",
         HealthConfig(test=["CMD", "a", "b"], interval=90_500_000_000, retries=2)),
        (["HEALTHCHECK --timeout=5s CMD a", "HEALTHCHECK --start-period=1h CMD b"], "healthcheck",
         HealthConfig(test=["CMD-SHELL", "b"], start_period=3_600_000_000_000)),
        (["LABEL a=b c='d e'", "LABEL a=x"], "labels", {"a": "x", "c": "d e"}),
        (["ONBUILD RUN make"], "on_build", ["RUN make"]),
        (["STOPSIGNAL SIGTERM"], "stop_signal", "SIGTERM"),
        (["STOPSIGNAL 9"], "stop_signal", "9"),
        (["USER 1000:100"], "user", "1000:100"),
        (['VOLUME ["/a", "/b"]'], "volumes", {"/a": {}, "/b": {}}),
        (["VOLUME /a /b"], "volumes", {"/a": {}, "/b": {}}),
        (["WORKDIR /a", "WORKDIR b/../c"], "working_dir", "/a/c"),
        (["WORKDIR '/with space'"], "working_dir", "/with space"),
        (["USER ann\nWORKDIR /x"], "user", "ann"),
    ],
)  # fmt: skip
def test_changes(changes: list[str], field: str, value: Any) -> None:
    changed = apply_changes(Config(), changes)
    assert getattr(changed, field) == value


def test_the_rest_stays() -> None:
    before = Config(env=["A=1"], labels={"a": "b"}, cmd=["x"])
    after = apply_changes(before, ["USER ann"])
    assert after == msgspec.structs.replace(before, user="ann")
    assert apply_changes(before, []) is before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("RUN make", "RUN is not a valid change command"),
        ("FROM scratch", "FROM is not a valid change command"),
        ("HEALTHCHECK NONE now", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK RUN a", "Unknown type 'RUN' in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=1us CMD a", "cannot be less than 1ms"),
        ("HEALTHCHECK --interval=soon CMD a", "invalid duration"),
        ("HEALTHCHECK --retries=0 CMD a", "--retries must be at least 1"),
        ("HEALTHCHECK --colour=red CMD a", "unknown flag: colour"),
        ("HEALTHCHECK --interval CMD a", "Missing a value on flag: interval"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("ENV A='open", "no closing quotation"),
        ("EXPOSE http", "Invalid containerPort: http"),
        ("EXPOSE 0", "Invalid containerPort: 0"),
        ("EXPOSE 70000", "Invalid containerPort: 70000"),
        ("EXPOSE 9-8", "Invalid containerPort: 9-8"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("STOPSIGNAL no signal", "Invalid signal: no signal"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
    ],
)
def test_refused(change: str, says: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        apply_changes(Config(), [change])
    assert says in raised.value.message


@given(st.lists(st.text(max_size=60), max_size=3))
def test_any_text_is_a_change_or_an_error(changes: list[str]) -> None:
    with contextlib.suppress(InvalidArgument):
        apply_changes(Config(), changes)


@given(
    st.sampled_from(
        "CMD ENTRYPOINT ENV EXPOSE LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()
    ),
    st.text(max_size=60),
)
def test_any_argument_is_taken_or_refused(word: str, argument: str) -> None:
    with contextlib.suppress(InvalidArgument):
        apply_changes(Config(env=["A=1"]), [f"{word} {argument}"])
