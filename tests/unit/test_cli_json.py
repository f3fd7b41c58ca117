"""JSON as the command reads and writes it, held against Python's own."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.cli import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    text = json_text.dumps(value)
    assert json.loads(text) == value
    assert json_text.loads(text) == value
    assert json_text.loads(f" \n{text}\t".encode()) == value


@given(VALUES)
def test_it_is_compact_and_plain(value: Any) -> None:
    assert json_text.dumps(value) == json.dumps(value, separators=(",", ":"))


@given(st.text())
def test_quoted(text: str) -> None:
    assert json_text.quoted(text) == json.dumps(text, ensure_ascii=False)


BROKEN = ("", " ", "{", "[1,]", "1 2", '{"a" 1}', "nul", '"\n"', '"\\x"', "{'a':1}", "[1]]")
ALONE = "import sys; from heft.cli import json_text; json_text.loads(sys.argv[1])"


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_value_is_told_as_python_tells_it(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as told:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as own:
        json_text.loads(text)
    assert str(own.value) == str(told.value)


@pytest.mark.parametrize("text", ["{", '"\\x"'])
def test_so_it_is_where_nothing_of_json_is_there_yet(text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {ALONE}", text],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "json.decoder.JSONDecodeError: " in done.stderr


WITHOUT = r"""
import sys
sys.modules["_json"] = None
from heft.cli import json_text
value = json_text.loads(' {"a": [1, "\u00fc", null]}')
print(json_text.dumps(value), ascii(json_text.quoted("\u00fc\n")))
try:
    json_text.loads("[1,]")
except ValueError:
    json_text.dumps({1: object()})
"""


def test_a_python_without_the_compiled_half_has_the_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert done.stdout == '{"a":[1,"\\u00fc",null]} \'"\\xfc\\\\n"\'\n'
    assert "TypeError: Object of type object is not JSON serializable" in done.stderr


def test_what_json_has_not_is_refused() -> None:
    with pytest.raises(TypeError, match="type object is not JSON serializable"):
        json_text.dumps({"a": object()})
