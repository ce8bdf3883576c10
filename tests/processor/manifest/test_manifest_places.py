"""Where a manifest's problems are told to be, all at once, and in whose words."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corelane.processor.errors import ManifestError
from corelane.processor.manifest import Manifest, parse_manifest
from corelane.processor.manifest.paths import expanded

BASE = Path("/base")
# What only a library or a grammar would say.
LIBRARY_WORDS = (
    *("Input should", "input should", "a valid ", "pattern", "ListedVersion", "pydantic", "<block", "token"),
    *("scalar", "another value", "ctx", "None", "True", "False", "expected"),
)


def parse(text: str) -> Manifest:
    return parse_manifest(text, source="m.yaml", base=BASE)


def error_of(text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        parse(text)
    return caught.value


def test_every_fault_of_a_list_is_told_with_its_index_and_place() -> None:
    error = error_of("""\
listen: {grpc: "127.0.0.1:8502"}
models:
  - name: ctr
    path: models/ctr
    slo_p99_ms: 0
    versions:
      - {version: x, role: ab}
      - {version: 3, role: abb, labl: stable}
      - 4
      - {version: 5, label: a, traffic: 101}
      - {version: 6, label: a}
      - {version: 6, label: a, shadow: 5, traffic: 5}
  - {name: ctr, path: "s3://b/x", sessions: none}
""")
    assert error.problems == [
        "m.yaml:1:16: listen.grpc: port 8502 is also that of listen.admin, by its default; each needs its own",
        "m.yaml:5:17: models[0].slo_p99_ms: should be more than 0, not 0",
        "m.yaml:7:19: models[0].versions[0].version: should be a whole number, not 'x'",
        "m.yaml:8:28: models[0].versions[1].role: should be 'baseline' or 'ab', not 'abb'; did you mean ab?",
        "m.yaml:8:33: models[0].versions[1].labl: is not a key; did you mean label?",
        "m.yaml:9:9: models[0].versions[2]: should be a mapping of keys to values, not 4",
        "m.yaml:10:41: models[0].versions[3].traffic: should be at most 100, not 101",
        "m.yaml:12:19: models[0].versions[5].version: version 6 is listed twice",
        "m.yaml:12:29: models[0].versions[5].label: label a is listed twice",
        "m.yaml:12:40: models[0].versions[5].shadow: version 6 has traffic and shadow; a shadow's answers go to nobody",
        "m.yaml:13:12: models[1].name: ctr is also the name of the model at line 3",
        "m.yaml:13:23: models[1].path: s3://b/x is not on this host; only its file system is read: mount it, or copy "
        "it to a folder",
        "m.yaml:13:45: models[1].sessions: should be auto or a whole number of at least 1, not 'none'",
    ]
    assert error.faults[3].excerpt == (
        "    8 |       - {version: 3, role: abb, labl: stable}\n      |                            ^^^"
    )


@pytest.mark.parametrize(
    ("line", "place", "caret"),
    [
        ('"größe 漢字": 1', "1:1", "^^^^^^^^^^^^"),
        ('"漢": 1', "1:1", "^^^^"),
        ('models: []\n"\t": 1', "2:1", "^^^"),
    ],
)
def test_carets_stand_under_what_terminals_show(line: str, place: str, caret: str) -> None:
    (fault,) = [fault for fault in error_of(line).faults if "is not a key" in fault.sentence]
    assert str(fault).startswith(f"m.yaml:{place}: ")
    assert fault.excerpt.splitlines()[1].split("|")[1].strip() == caret


def test_of_a_long_line_a_part_is_shown() -> None:
    (fault,) = error_of(
        "models: [{name: a, path: " + "x" * 200 + ", sesions: 1, op_libraries: [" + "y" * 200 + "]}]"
    ).faults
    text, carets = (line.split(" | ")[1] for line in fault.excerpt.splitlines())
    assert text.startswith("...")
    assert text.endswith("...")
    assert text[carets.index("^") : carets.rindex("^") + 1] == "sesions"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("models:\n- name: a\n  path: b\n path: c\n", "4:2: this does not belong to the mapping that begins at line 1"),
        (
            "- a\nb: 1\n",
            "2:1: this does not belong to the list that begins at line 1, column 1; its lines are `- item`",
        ),
        ("models: [1, 2", "1:9: the bracket that opens here is never closed"),
        ("models: [1 2: 3 4 {", "1:19: a comma or ] is missing before this; the [ is at line 1, column 9"),
        ("models: {", "1:10: a value or a closing bracket is missing at the end"),
        ("models: [{path: ${X}/y}]", "1:18: put a text with ${...} in quotes where it stands between { and }"),
        ("models:\n\t- a", "2:1: a tab cannot indent a line; use spaces"),
        ('a: 1\nmodels: "abc\n\n', "2:9: the quote that opens here is never closed"),
        ("models: @x", "1:9: a value cannot begin with @; put it in quotes"),
        ("models:\n  - name a\n    path: x", "3:9: a `: ` cannot stand here: the line above may lack its colon"),
        ("models: []\nname\nhost: {}", "3:1: the text at line 2 should be `key: value`: a colon"),
        ("models: - a", "1:9: a list's `- ` cannot stand here"),
        ("models: *x", "1:9: *x names no value: nothing above is marked &x"),
        ("models: *.jpg", "1:10: `*` and `&` stand before the name of a value"),
        ("a: &x 1\nb: &x 2", "2:4: this & name is taken by a value above"),
        ("a: 1\n---\nb: 2", "2:1: a second document begins here"),
        ('x: "\\q"', "1:6: a backslash in double quotes begins an escape that YAML does not have"),
        ("x: |x", "1:5: behind | or > only + or - and a number may stand"),
        ("x: !a!b c", "1:4: a value that begins with ! cannot be read"),
        ("%FOO: 1\n", "1:5: a line that begins with % cannot be read"),
        ("a: 1\nb: \x07", "2:4: a manifest cannot have the character U+0007"),
        ("models: []\n<<: {a: 1}", "2:1: << is not read; write the keys out"),
        ("models: [{name: 2024-99-99, path: x}]", "1:17: models[0].name: '2024-99-99' cannot be read as the date"),
        ("[" * 5000, "1:1: lists and mappings lie too deep in each other"),
        ("models: [{name: 3, path: x}]", "1:17: models[0].name: should be text, not 3; put it in quotes"),
        ("models: [{name: a, path: ~}]", "1:26: models[0].path: should be text, not nothing"),
        ("models:", "1:8: models: should be a list, not nothing"),
        ("models: []\nlisten: {http_idle_s: .inf}", "2:23: listen.http_idle_s: should be a finite number, not inf"),
        ("models: []\nlisten: {auth: {}}", "2:16: listen.auth: needs api_keys, jwt, or both"),
        (
            "models: []\nlisten: {traces: {endpoint: x}}",
            "2:29: listen.traces.endpoint: should be a URL such as http://",
        ),
        (
            f"models: []\nhost: {{cores: -{'9' * 99}}}",
            "2:15: host.cores: should be at least -9223372036854775807, not '-9999",
        ),
        (f"models: []\nlisten: {{grpc: 'x:{'9' * 5000}'}}", "2:16: listen.grpc: should be an address such as"),
    ],
)
def test_words_for_what_no_library_would_explain(text: str, problem: str) -> None:
    problems = error_of(text).problems
    assert any(line.startswith(f"m.yaml:{problem}") for line in problems), problems


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ('{grpc: "127.0.0.1:9", admin: "127.0.0.1:9"}', "listen.admin: port 9 is also that of listen.grpc, at line 1"),
        ('{grpc: "0.0.0.0:9", http: "10.0.0.1:9"}', "listen.http: port 9 is also that of listen.grpc"),
        ('{grpc: "localhost:9", http: "127.0.0.1:9"}', "listen.http: port 9 is also that of listen.grpc"),
        ('{http: "127.0.0.1:8500"}', "listen.http: port 8500 is also that of listen.grpc, by its default"),
        ('{grpc: "10.0.0.1:9", http: "10.0.0.2:9"}', None),
        ('{grpc: "127.0.0.1:0", http: "127.0.0.1:0", admin: "127.0.0.1:0"}', None),
        ('{grpc: "127.0.0.1:8501", http: none}', None),
    ],
)
def test_a_port_that_stands_twice(listen: str, problem: str | None) -> None:
    text = f"listen: {listen}\nmodels: []\n"
    if problem is None:
        assert parse(text).models == ()
    else:
        assert problem in str(error_of(text))


def test_queues_of_large_messages() -> None:
    text = "listen: {message_bytes_max: 2147483647}\nmodels: [{name: a, path: x, queue: {capacity: CAPACITY}}]\n"
    (problem,) = error_of(text.replace("CAPACITY", "9000")).problems
    assert problem.startswith(
        "m.yaml:2:47: models[0].queue.capacity: 9000 messages of listen.message_bytes_max (2147483647)"
    )
    (problem,) = error_of(text.replace("CAPACITY", "70000")).problems
    assert problem == "m.yaml:2:47: models[0].queue.capacity: should be at most 65536, not 70000", "one fault, once"


def test_both_lines_of_a_port_are_named() -> None:
    error = error_of('listen:\n  grpc: "127.0.0.1:9"\n  http: "127.0.0.1:9"\nmodels: []\n')
    assert error.problems == [
        "m.yaml:3:9: listen.http: port 9 is also that of listen.grpc, at line 2; each needs its own"
    ]


def test_home_and_variables_are_filled_in_wherever_a_path_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    monkeypatch.setenv("MODELS", "/data")
    manifest = parse(
        """
listen:
  grpc_socket: ${MODELS}/socket
  tls: {certificate: ~/c.pem, key: "${MODELS}/k.pem"}
  auth: {api_keys: "${MODELS}/keys", jwt: {key: ~/jwt.pem}}
models:
  - name: ${MODELS}
    path: ~/ctr
    op_libraries: [~/a.so, "${MODELS}/b.so", c.so]
    request_log: {folder: "${MODELS}/logs"}
""".replace("${MODELS}\n", '"$MODELS"\n')
    )
    listen, (model,) = manifest.listen, manifest.models
    assert listen.tls is not None
    assert listen.auth is not None
    assert listen.auth.jwt is not None
    assert model.request_log is not None
    assert [
        *(str(path) for path in (listen.grpc_socket, listen.tls.certificate, listen.tls.key, listen.auth.api_keys)),
        *(str(path) for path in (listen.auth.jwt.key, model.path, model.request_log.folder)),
        *model.op_libraries,
    ] == [
        *("/data/socket", "/users/me/c.pem", "/data/k.pem", "/data/keys"),
        *("/users/me/jwt.pem", "/users/me/ctr", "/data/logs"),
        *("/users/me/a.so", "/data/b.so", "/base/c.so"),
    ]
    assert model.name == "$MODELS", "only paths are filled in"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (
            "${CORELANE_NO_SUCH}/x",
            "the environment variable CORELANE_NO_SUCH is not set; set it, or write out the path",
        ),
        ("x/${}", "'${}' names no variable"),
        ("x/${a b}", "'${a b}' names no variable"),
        ("x/${HOME", "'${HOME' names no variable"),
        ("~no-such-user-here/x", "no home folder of '~no-such-user-here' is known here"),
    ],
)
def test_what_cannot_be_filled_in_is_named(path: str, problem: str) -> None:
    assert f"models[0].path: {problem}" in str(error_of(f"models: [{{name: a, path: '{path}'}}]"))


def test_what_a_variable_holds_is_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", "~/${HOME}")
    assert expanded("${ODD}/x$y/~") == "~/${HOME}/x$y/~"


def test_a_remote_variable_is_told_like_a_remote_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "s3://b")
    assert "s3://b/x is not on this host" in str(error_of("models: [{name: a, path: '${BUCKET}/x'}]"))


_words = st.sampled_from(
    ["models", "listen", "host", "name", "path", "versions", "queue", "traffic", "version", "all", "latest", "tls"]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab1:~", max_size=6) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(_words, _values))
def test_no_problem_has_a_librarys_words(document: dict) -> None:
    try:
        parse(yaml.safe_dump(document))
    except ManifestError as error:
        for fault in error.faults:
            assert not [word for word in LIBRARY_WORDS if word in fault.sentence.replace("'None'", "")], fault
            assert fault.line is not None
            assert fault.column is not None


@given(st.text("ab:-[]{}\"'#&*!|>%@`\n\t ,?0~", max_size=30))
def test_any_text_is_a_manifest_or_problems_with_places(text: str) -> None:
    try:
        parse(text)
    except ManifestError as error:
        lines = text.count("\n") + 1
        for fault in error.faults:
            assert not [word for word in LIBRARY_WORDS if word in fault.sentence], fault
            assert fault.line is not None
            assert 1 <= fault.line <= lines


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("!!timestamp x", "'x' cannot be read as the date, number or type that it looks like; if it is text, put"),
        ("!!int ''", "'' cannot be read as"),
        ("!!float ''", "'' cannot be read as"),
        ("!!bool x", "'x' cannot be read as"),
        ("0x" + "f" * 90, "should be at most 9223372036854775807, not"),
        ("1.0e+300", "should be at most"),
    ],
)
def test_numbers_and_tags_that_nothing_can_be(value: str, sentence: str) -> None:
    """Whatever a tag's constructor makes of them, and whatever a number would overflow later."""
    (problem,) = error_of(f"models:\n  - name: m\n    path: p\n    load_timeout_s: {value}\n").problems
    assert problem.startswith("m.yaml:4:21: models[0].load_timeout_s: ") and sentence in problem


@pytest.mark.parametrize("key", ["sessions", "gateways"])
def test_no_host_has_so_many_threads(key: str) -> None:
    text = (
        "models: [{name: m, path: p, sessions: 1000000000}]"
        if key == "sessions"
        else "host: {gateways: 5000}\nmodels: []"
    )
    (problem,) = error_of(text).problems
    assert "should be at most" in problem and key in problem


def test_places_count_line_ends_of_two_characters_as_one() -> None:
    error = error_of('models:\r\n  - name: "m"\r\n    path: "a\x01"\r\n')
    assert error.problems == ["m.yaml:3:13: a manifest cannot have the character U+0001"]
