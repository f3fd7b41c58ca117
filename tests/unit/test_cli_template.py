"""Go's templates, as far as formats use them. Expected texts are from Go's text/template."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.cli.failures import Failure
from heft.cli.tables import Listing
from heft.cli.template.evaluate import BROKEN_TEMPLATE, Template, of_one

THING: dict[str, Any] = {
    "Name": "/web",
    "State": {"Running": True, "Pid": 7, "Error": ""},
    "Ports": {"80/tcp": [{"HostPort": "8080"}], "53/udp": None},
    "Args": ["a", "b", "c"],
    "Nothing": None,
    "Float": 1.5,
    "Label": lambda key: f"<{key}>",
}


def render(template: str) -> str:
    return Template(template).render(THING)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.Name}}", "/web"),
        ("{{ .State.Running }}", "true"),
        ("{{.State.Pid}}{{.Float}}", "71.5"),
        ("{{.Args}}", "[a b c]"),
        ("{{.State}}", "map[Error: Pid:7 Running:true]"),
        ("{{.Nothing}}", "<no value>"),
        ("{{json .Args}}", '["a","b","c"]'),
        ("{{json .Nothing}}", "null"),
        ('{{index .Args 1}}{{index .Ports "80/tcp" 0}}', "bmap[HostPort:8080]"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{with index .Ports "80/tcp"}}{{(index . 0).HostPort}}{{end}}', "8080"),
        ('{{.Label "a.b"}}{{"x" | .Label}}', "<a.b><x>"),
        ("{{range .Args}}[{{.}}]{{end}}", "[a][b][c]"),
        ("{{range $i, $x := .Args}}{{$i}}{{$x}}{{$.Name}} {{end}}", "0a/web 1b/web 2c/web "),
        ("{{range $p, $c := .Ports}}{{$p}} {{end}}", "53/udp 80/tcp "),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Error}}bad{{else}}good{{end}}", "good"),
        ("{{if eq .State.Pid 8}}8{{else if eq .State.Pid 7}}7{{else}}?{{end}}", "7"),
        ("{{if and .Name (not .State.Error) (ne .State.Pid 0)}}ok{{end}}", "ok"),
        ('{{or .State.Error "none"}}', "none"),
        ('{{upper "a"}}{{lower "B"}}{{title "abc"}}{{len .Args}}', "AbAbc3"),
        ('{{join .Args ","}}{{join (split "a b" " ") "-"}}', "a,b,ca-b"),
        ('{{truncate "abcdef" 3}}|{{pad "x" 1 2}}|', "abc| x  |"),
        ('{{println "a" 1}}{{print "a" 1 2 "b"}}', "a 1\na1 2b"),
        ('{{printf "%-4s|%03d|%q|%v" "ab" 7 "c" true}}', 'ab  |007|"c"|true'),
        ('{{.Name | printf "%s!" | upper}}', "/WEB!"),
        ("{{slice .Name 1}}{{slice .Name 1 2}}", "webw"),
        ("{{$x := .Name}}{{$x}}", "/web"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("a {{- /* no */ -}} b", "ab"),
        ("a  {{- 1 -}}  b", "a1b"),
        (r"a\tb\n", "a\tb\n"),
        (r'{{"\"\u00e9\""}}{{`raw\`}}', '"é"raw\\'),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert render(template) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Foo", "failed to parse template: template: :1: unclosed action"),
        ("{{if .Name}}x", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{}}", "missing value for command"),
        ("{{nope .}}", 'function "nope" not defined'),
        ("{{.Foo}}", 'at <.Foo>: map has no entry for key "Foo"'),
        ("{{.State.Foo}}", 'at <.State.Foo>: map has no entry for key "Foo"'),
        ("{{.Name.Foo}}", "can't evaluate field Foo in type string"),
        ("{{.Nothing.Foo}}", "nil pointer evaluating interface {}.Foo"),
        ("{{index .Args 9}}", "index out of range: 9"),
        ('{{index .Args "x"}}', "cannot index slice/array with type string"),
        ("{{len 5}}", "error calling len"),
        ("{{$nope}}", "undefined variable"),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{range .Name}}{{end}}", "range can't iterate over /web"),
    ],
)
def test_errors_say_where(template: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        render(template)
    assert message in caught.value.message


def test_broken_formats_of_one_thing_end_as_dockers() -> None:
    with pytest.raises(Failure) as caught:
        of_one("{{.Foo")
    assert caught.value.code == BROKEN_TEMPLATE
    assert caught.value.message == "template parsing error: template: :1: unclosed action"


@given(st.text(alphabet='{}.$|()"`-_aifendrg 01,:=\\', max_size=40))
def test_any_text_renders_or_is_refused(template: str) -> None:
    try:
        render(template)
    except Failure:
        return


LISTING = Listing({"ID": "CONTAINER ID", "Names": "NAMES"}, ("ID", "Names"))
ROWS: list[dict[str, Any]] = [
    {"ID": "1", "Names": "one", "Label": lambda key: f"l-{key}"},
    {"ID": "22222222222222", "Names": "two", "Label": lambda _: ""},
]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("", "CONTAINER ID     NAMES\n1                one\n22222222222222   two\n"),
        ("table", "CONTAINER ID     NAMES\n1                one\n22222222222222   two\n"),
        ("{{.Names}}", "one\ntwo\n"),
        ("json", '{"ID":"1","Names":"one"}\n{"ID":"22222222222222","Names":"two"}\n'),
        (
            r"table {{.Names}}\t{{.ID}}",
            "NAMES     CONTAINER ID\none       1\ntwo       22222222222222\n",
        ),
        (r'table {{upper .Names}}\t{{.Label "a.b"}}', "NAMES     b\nONE       l-a.b\nTWO       \n"),
    ],
)
def test_lists(form: str, text: str) -> None:
    assert LISTING.text(ROWS, form) == text
