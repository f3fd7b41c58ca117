"""Configurations of images: read as Go reads them, written the same every time."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import InvalidArgument
from heft.images import configs, platforms
from heft.model.config import Config
from heft.model.image import History

DIFF = "sha256:" + "ab" * 32


def decode(**fields: Any) -> configs.ImageConfig:
    return configs.decode(json.dumps(fields).encode())


def test_read() -> None:
    config = decode(
        architecture="arm64",
        os="linux",
        variant="v8",
        created="2024-01-02T03:04:05Z",
        config={"Cmd": ["sh"], "Env": ["A=1"], "ExposedPorts": {"80/tcp": {}}, "Unknown": 1},
        rootfs={"type": "layers", "diff_ids": [DIFF]},
        history=[{"created": "x", "empty_layer": True}],
        unknown={},
    )
    image = config.image("sha256:1", [], 5)
    assert image.platform == "linux/arm64/v8"
    assert image.config.cmd == ["sh"]
    assert image.config.exposed_ports == {"80/tcp": {}}
    assert image.history == (History(created="x", empty_layer=True),)
    assert config.diff_ids == (DIFF,)


def test_null_is_absent() -> None:
    config = decode(
        config={"Cmd": None, "Env": None, "Volumes": None, "Labels": None, "Healthcheck": None},
        history=None,
        author=None,
    )
    assert config.config == Config()
    assert config.diff_ids == ()


def test_old_docker_wrote_words_for_lists() -> None:
    assert decode(config={"Entrypoint": "/init", "Cmd": "x"}).config.entrypoint == ["/init"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[]",
        b'"x"',
        b'{"config": 5}',
        b'{"config": {"Env": "A=1"}}',
        b'{"rootfs": {"type": "windows"}}',
        b'{"rootfs": {"diff_ids": ["../../etc"]}}',
        b'{"rootfs": {"diff_ids": ["sha256:12"]}}',
        b"[" * 100_000,
        b'"\xff"',
    ],
)
def test_malformed(content: bytes) -> None:
    with pytest.raises(InvalidArgument, match="invalid image configuration"):
        configs.decode(content)


def test_written() -> None:
    history = [History(created="2024-01-02T03:04:05Z", comment="made")]
    config = configs.new(
        Config(cmd=["sh"], labels={"a": ""}),
        diff_ids=[DIFF],
        platform="linux/arm64/v8",
        history=history,
        created="2024-01-02T03:04:05Z",
    )
    content = configs.encode(config)
    assert content == configs.encode(configs.decode(content))
    assert json.loads(content) == {
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "comment": "made",
        "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Labels": {"a": ""}},
        "history": [{"comment": "made", "created": "2024-01-02T03:04:05Z"}],
        "rootfs": {"type": "layers", "diff_ids": [DIFF]},
    }


def test_an_image_of_nothing() -> None:
    content = configs.encode(configs.new(Config(), diff_ids=[], platform="", history=[]))
    assert json.loads(content)["rootfs"] == {"type": "layers", "diff_ids": []}
    assert configs.decode(content).diff_ids == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("linux/amd64", ("linux", "amd64", "")),
        ("linux/arm/v7", ("linux", "arm", "v7")),
        ("Linux/x86_64", ("linux", "amd64", "")),
        ("arm64", ("linux", "arm64", "")),
        ("linux/arm64/v8", ("linux", "arm64", "v8")),
        ("aarch64", ("linux", "arm64", "")),
        ("linux/arm", ("linux", "arm", "v7")),
        ("linux/arm/6", ("linux", "arm", "v6")),
        ("armhf", ("linux", "arm", "v7")),
        ("armel", ("linux", "arm", "v6")),
        ("linux/i386", ("linux", "386", "")),
        ("x86-64", ("linux", "amd64", "")),
        ("linux/amd64/v1", ("linux", "amd64", "")),
        ("linux/amd64/v3", ("linux", "amd64", "v3")),
        ("linux", ("linux", platforms.host_architecture(), "")),
        ("", ("linux", platforms.host_architecture(), "")),
    ],
)
def test_platforms(text: str, parts: tuple[str, str, str]) -> None:
    assert configs.platform_parts(text) == parts


@pytest.mark.parametrize(
    "text",
    ["windows/amd64", "windows", "macos", "nonsense", "linux/", "a/b/c/d", "linux/amd 64", "/"],
)
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidArgument):
        configs.platform_parts(text)


@pytest.mark.parametrize(
    ("wanted", "there", "fits"),
    [
        ("linux/arm64", {"os": "linux", "architecture": "arm64", "variant": "v8"}, 0),
        ("linux/arm64/v8", {"os": "Linux", "architecture": "aarch64"}, 0),
        ("linux/arm64", {"os": "linux", "architecture": "arm64", "variant": "v9"}, -1),
        ("linux/arm", {"os": "linux", "architecture": "arm", "variant": "v6"}, 1),
        ("linux/arm/v6", {"os": "linux", "architecture": "arm"}, -1),
        ("linux/amd64", {"os": "linux", "architecture": "x86_64", "variant": "v1"}, 0),
        ("linux/amd64/v3", {"os": "linux", "architecture": "amd64"}, 2),
        ("linux/amd64", {"os": "linux", "architecture": "amd64", "variant": "v2"}, -1),
        ("linux/amd64", {"os": "windows", "architecture": "amd64"}, -1),
        ("linux/amd64", {"os": 7, "architecture": ["amd64"]}, -1),
        ("linux/386", {"os": "linux", "architecture": "i386"}, 0),
    ],
)
def test_which_platforms_fit(wanted: str, there: dict[str, object], fits: int) -> None:
    assert platforms.parse(wanted).runs(platforms.of(there)) == fits


def test_an_image_has_the_usual_words_for_its_platform() -> None:
    image = decode(architecture="armhf", os="Linux").image("sha256:1", [], 0)
    assert (image.platform, image.variant) == ("linux/arm/v7", "v7")
    assert decode(architecture="x86_64", os="linux").image("i", [], 0).platform == "linux/amd64"


def test_times() -> None:
    assert configs.text_of(0) == "1970-01-01T00:00:00.000000000Z"
    assert configs.text_of(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["config", "Cmd", "Env", "rootfs", "diff_ids", "history", "os", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_configuration_or_an_error(value: Any) -> None:
    with contextlib.suppress(InvalidArgument):
        configs.encode(configs.decode(json.dumps(value).encode()))
