"""What a volume of the driver `local` is told to show."""

from pathlib import Path

import pytest

from heft.errors import InvalidArgument
from heft.volumes import local

HERE = Path("/v/_data")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"color": "red"}, 'invalid option: "color"'),
        ({"device": "/x"}, 'missing required option: "type"'),
        ({"type": "none"}, 'missing required option: "device"'),
        ({"o": "bind"}, 'missing required option: "device"'),
        ({"size": "1g"}, "quota size requested but no quota support"),
    ],
)
def test_what_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        local.check(options)


async def test_command_lines() -> None:
    bind = {"type": "none", "o": "bind,ro", "device": "/srv"}
    local.check(bind)
    assert " ".join(await local.command(bind, HERE)) == (
        "mount -i -t none -o bind,ro -- /srv /v/_data"
    )
    tmpfs = {"type": "tmpfs", "device": "tmpfs"}
    assert await local.command(tmpfs, HERE) == (
        *("mount", "-i", "-t", "tmpfs", "--", "tmpfs", "/v/_data"),
    )
    share = {"type": "nfs4", "o": "addr=127.0.0.1,rw", "device": ":/export"}
    assert " ".join(await local.command(share, HERE)) == (
        "mount -i -t nfs4 -o addr=127.0.0.1,rw -- :/export /v/_data"
    )
