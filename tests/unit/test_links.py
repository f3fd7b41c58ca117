"""Links between machines: their texts, lines and variables."""

import pytest

from heft.engine import links
from heft.errors import InvalidArgument
from heft.model.config import Config, HostConfig
from heft.model.machine import Machine, State
from heft.model.network import Endpoint


def machine(name: str, config: Config, address: str = "") -> Machine:
    endpoint = Endpoint(id="e", network="bridge", network_id="n", address=address)
    return Machine(
        id=name * 10,
        name=name,
        created=1,
        weight="light",
        platform="linux/amd64",
        image="sha256:0",
        layers=(),
        config=config,
        host_config=HostConfig(),
        state=State.RUNNING,
        endpoint=endpoint if address else None,
    )


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("server", ("server", "server")),
        ("server:db", ("server", "db")),
        ("/server:/box/db", ("server", "db")),
    ],
)
def test_texts(text: str, meaning: tuple[str, str]) -> None:
    assert links.read(text) == meaning


@pytest.mark.parametrize("text", ["", ":", "a:", ":b", "a:b:c", "a b", "a:b\n1.2.3.4 evil"])
def test_bad_texts(text: str) -> None:
    with pytest.raises(InvalidArgument):
        links.read(text)


def test_lines_and_variables() -> None:
    ports = {"90/tcp": {}, "80-81/tcp": {}}
    config = Config(hostname="h", exposed_ports=ports, env=["A=1", "PATH=/bin", "BARE"])
    link = links.Link("a-b", machine("server", config, "10.0.0.2"))
    assert links.host_lines([link]) == "10.0.0.2\ta-b h server\n"
    variables = links.environment(machine("box", Config()), [link])
    assert variables[0] == "A_B_PORT=tcp://10.0.0.2:80"
    assert "A_B_PORT_81_TCP_ADDR=10.0.0.2" in variables
    assert variables[-2:] == ("A_B_NAME=/box/a-b", "A_B_ENV_A=1")


def test_a_machine_without_an_address_is_not_told_of() -> None:
    link = links.Link("a", machine("server", Config()))
    assert links.host_lines([link]) == ""
    assert links.environment(machine("box", Config()), [link]) == ()
