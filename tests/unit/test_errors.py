"""What errors say, where it holds the words of others."""

from heft.errors import InvalidArgument


def test_what_would_control_a_terminal_is_written_out() -> None:
    error = InvalidArgument("no \x1b[31mred\x07\x9b: café\u202e\udc80,\nnext", hint="\r")
    assert str(error) == "no \\x1b[31mred\\x07\\x9b: café\\u202e\\udc80,\nnext (\\r)"
    assert str(InvalidArgument(f"once: {error}")) == f"once: {error}", "and that but once"
