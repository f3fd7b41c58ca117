"""Which ports are to be published, in Docker's way of saying it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import HeftError, InvalidArgument, NotSupported
from heft.model.config import PortBinding
from heft.model.network import Protocol
from heft.networks.ports import ANY, PortRequest, left_out, requested_ports

TCP, UDP = Protocol.TCP, Protocol.UDP


def bound(text: str, **binding: str) -> tuple[PortRequest, ...]:
    return requested_ports((), {text: [PortBinding(**binding)]}, False)


def test_bindings() -> None:
    assert bound("80/tcp", host_port="8080") == (
        PortRequest(TCP, 80, "0.0.0.0", range(8080, 8081)),
    )
    assert bound("53/udp", host_ip="127.0.0.1") == (PortRequest(UDP, 53, "127.0.0.1", ANY),)
    assert bound("80", host_port="8000-8010") == (
        PortRequest(TCP, 80, "0.0.0.0", range(8000, 8011)),
    )
    assert bound("80/tcp", host_ip="::", host_port="80") == ()


def test_what_is_not_published_is_told() -> None:
    here = PortBinding(host_ip="127.0.0.1", host_port="80")
    bindings = {"80/tcp": [here, PortBinding(host_ip="[::1]", host_port="80")], "90": None}
    (warning,) = left_out(bindings)
    assert warning.startswith("port 80/tcp is not published at [::1]: ")


def test_ranges_go_one_to_one() -> None:
    found = bound("80-82/tcp", host_port="90-92")
    assert [(request.machine_port, *request.host_ports) for request in found] == [
        (80, 90),
        (81, 91),
        (82, 92),
    ]
    with pytest.raises(InvalidArgument, match="invalid ranges"):
        bound("80-82", host_port="90-91")


def test_publish_all() -> None:
    bindings = {"80/tcp": [PortBinding(host_port="8080")]}
    found = requested_ports(["80/tcp", "443"], bindings, True)
    assert found == (
        PortRequest(TCP, 80, "0.0.0.0", range(8080, 8081)),
        PortRequest(TCP, 443, "0.0.0.0", ANY),
    )
    assert requested_ports(["443"], {}, False) == ()


@pytest.mark.parametrize("text", ["", "x", "0", "70000", "80/what", "9-8", "80-", "-80", "٣"])
def test_bad_ports(text: str) -> None:
    with pytest.raises(InvalidArgument):
        bound(text)


def test_sctp() -> None:
    with pytest.raises(NotSupported, match="SCTP"):
        bound("80/sctp")


@given(st.text("0123456789-/tcpud ", max_size=12), st.text("0123456789-", max_size=11))
def test_any_text_is_ports_or_refused(text: str, host_port: str) -> None:
    try:
        found = bound(text, host_port=host_port)
    except HeftError:
        return
    assert all(1 <= request.machine_port <= 65535 for request in found)
