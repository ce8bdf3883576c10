"""Rules of the house that would decay if nothing enforced them."""

import ast
import re
import subprocess
import sys
from collections.abc import Mapping, Set
from pathlib import Path

import pytest

from corelane.processor import knobs
from corelane.processor.manifest import ListenSettings, reference

ROOT = Path(__file__).parent.parent
# What each package may import of the project.
MAY_IMPORT = {
    "kernels": {"kernels"},
    "scheduler": {"scheduler"},
    "configs": set(),
    "processor": {"processor", "scheduler", "kernels"},
    "corelane": {"corelane", "processor", "scheduler", "kernels", "configs"},
}
SOURCES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]
LINES_MAX = 400
# Files that are longer, and why.
LONG = {
    "bench/chaos/faults.py": "a catalogue with a function for each fault",
    "processor/engines/openvino_rules.py": "a table of rules, one for each op",
    "processor/manifest/schema.py": "the keys of the manifest, each with its description",
    "processor/manifest/tensorflow_flags.py": "a table with an entry for each flag",
    "processor/native/codec/tensor_codec.cc": "both directions of one message, type by type",
    "processor/native/engines/openvino_model.cc": "one model over OpenVINO's C API, all of whose errors end there",
    "processor/supervisor/supervisor.py": "carries out the policy; its parts have files of their own already",
    "tests/corelane/test_command_line.py": "a group of tests for each command, all on one server",
    "tests/processor/engines/test_openvino_exact.py": "a graph for each op of the proof",
    "tests/processor/supervisor/test_page.py": "one page, one browser and one server for all",
    "tests/processor/supervisor/test_traffic.py": "all that happens to splits, from promote to shadows",
    "tests/support/fused_models.py": "a catalogue with a function for each model",
}
# Folders and files that hold bytes instead of text, and why.
BINARY = {
    "docs/isolation.png": "the figure that bench.isolation --plot draws",
    "tests/native/corpus/": "inputs that the fuzzers begin with",
}
# Without the links to the packages, which lead to folders.
TRACKED = [
    name
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    if (ROOT / name).is_file()
]
KNOB = re.compile(r"\bCORELANE_[A-Z_]*")


def module_of(path: Path) -> str:
    """`corelane.processor.errors` of processor/errors.py: the folders beside `corelane` are packages of it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "corelane" else ("corelane", *parts))
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, local and TYPE_CHECKING imports included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {member if member in MODULES else str(node.module) for member in members}
    return names


def package_of(module: str) -> str:
    """Which of MAY_IMPORT's packages a module of the project belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    ours = {package_of(name) for name in imported(path) if name.split(".")[0] in {"corelane", "tests", "bench"}}
    assert ours <= MAY_IMPORT[package_of(module_of(path))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_packages_are_imported_as_parts_of_corelane(path: Path) -> None:
    assert not {name for name in imported(path) if name.split(".")[0] in MAY_IMPORT.keys() - {"corelane"}}


def circles(imports: Mapping[str, Set[str]]) -> list[list[str]]:
    """Circles among modules by their imports: of every strongly connected component the shortest way round."""
    ways_round = []
    left = set(imports)
    for start in sorted(imports):
        if start not in left:
            continue
        ways: dict[str, list[str]] = {start: [start]}
        queue = [start]
        for module in queue:
            for other in sorted(imports[module] & left):
                if other == start:
                    ways_round.append([*ways[module], start])
                    left -= set(ways[module])
                    queue.clear()
                    break
                if other not in ways:
                    ways[other] = [*ways[module], other]
                    queue.append(other)
        left.discard(start)
    return ways_round


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b", "a"]]),
        ({"a": {"a"}}, [["a", "a"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}, [["b", "c", "d", "b"]]),
    ],
)
def test_circles_are_found(imports: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(imports) == expected


def test_imports_make_no_circle() -> None:
    modules = {module: path for module, path in MODULES.items() if ".supervisor." not in module}
    assert circles({module: imported(path) & modules.keys() for module, path in modules.items()}) == []


# Modules that read "type" of what is no message between processes.
OTHER_TYPES = {
    "processor/gateway/http/exchange.py",  # ASGI's events
    "processor/supervisor/api/admin.py",
}


def untyped_messages(text: str) -> list[str]:
    """Places where source reads a message as a dict with string keys, or sends one."""
    places = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            name = ast.unparse(node.value).rpartition(".")[2]
            is_read = node.slice.value == "type" or name in {"message", "first", "settings"}
            if is_read and isinstance(node.slice.value, str):
                places.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            reads = node.func.attr == "get" and node.args and ast.unparse(node.args[0]) == "'type'"
            sends = node.func.attr == "send" and node.args and isinstance(node.args[0], ast.Dict)
            if reads or sends:
                places.append(f"{node.lineno}: {ast.unparse(node)}")
    return places


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("message['type']", 1),
        ("self.settings['tls']", 1),
        ("first['spec']", 1),
        ("event.get('type', 0)", 1),
        ("child.send({'type': 'drain'})", 1),
        ("child.send(Drain()); rows[0]; settings[name]; table['rows']", 0),
    ],
)
def test_untyped_messages_are_found(text: str, count: int) -> None:
    assert len(untyped_messages(text)) == count


def test_processes_speak_in_types() -> None:
    rooms = [ROOT / "processor" / room for room in ("gateway", "loading", "supervisor", "system", "worker")]
    untyped = {
        str(path.relative_to(ROOT)): places
        for room in rooms
        for path in sorted(room.rglob("*.py"))
        if (places := untyped_messages(path.read_text()))
    }
    assert untyped.keys() == OTHER_TYPES, untyped


def test_a_gateway_imports_no_engine() -> None:
    code = (
        "import sys, corelane.processor.gateway.grpc.server, corelane.processor.gateway.http.server\n"
        "heavy = {'tensorflow', 'onnxruntime', 'openvino', 'numpy.linalg', 'pydantic'}\n"
        "print(sorted(heavy & sys.modules.keys() - {'numpy.linalg'}))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_client_needs_no_engine() -> None:
    code = "import sys, corelane\nprint(sorted({'tensorflow', 'onnxruntime', 'openvino'} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_schedulers_do_no_io_but_reading_topology() -> None:
    for path in (ROOT / "scheduler").rglob("*.py"):
        modules = {name.split(".")[0] for name in imported(path)}
        assert not modules & {"socket", "subprocess", "asyncio", "threading", "logging", "psutil"}, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: a bare except"
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"{path}:{node.lineno}: swallowed"


def test_files_stay_one_concept() -> None:
    code = [name for name in TRACKED if Path(name).suffix in {".py", ".pyi", ".cc", ".h"}]
    long = {name for name in code if len((ROOT / name).read_text().splitlines()) > LINES_MAX}
    assert long == LONG.keys()


def test_the_manifests_page_has_the_keys_as_the_schema_has_them() -> None:
    assert reference.table() in (ROOT / "docs/manifest.md").read_text()


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_binary_file_is_tracked_without_a_reason() -> None:
    binary = {name for name in TRACKED if is_binary((ROOT / name).read_bytes())}
    assert {name for name in binary if not name.startswith(tuple(BINARY))} == set()
    assert {reason for reason in BINARY if not any(name.startswith(reason) for name in binary)} == set()


def is_binary(data: bytes) -> bool:
    """Whether the data is no text in UTF-8."""
    try:
        return "\0" in data.decode()
    except UnicodeDecodeError:
        return True


@pytest.mark.parametrize(
    ("data", "expected"), [(b"", False), ("π\n".encode(), False), (b"a\0b", True), (b"\xff", True)]
)
def test_bytes_and_text_are_told_apart(data: bytes, expected: bool) -> None:
    assert is_binary(data) is expected


def test_test_folders_mirror_the_packages() -> None:
    """Every folder with tests is named after the package that they test; `native` tests the native folders of all."""
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    apart = {Path(), Path("native")}
    assert {str(folder) for folder in folders - apart if not list((ROOT / folder).glob("*.py"))} == set()


def test_every_environment_variable_stands_in_the_registry() -> None:
    registry = {variable.name for variable in knobs.VARIABLES}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    configs = [path for path in (ROOT / "configs").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    unknown = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in {*SOURCES, *pages, *configs} - {ROOT / "processor/knobs.py"}
        for name in KNOB.findall(path.read_text())
        if name not in registry
    }
    assert unknown == set()


def test_the_addresses_of_the_registry_are_the_manifests() -> None:
    settings = ListenSettings()
    assert (knobs.value(knobs.SERVER, {}), knobs.value(knobs.ADMIN, {})) == (settings.grpc, settings.admin)


def test_the_manifests_page_has_every_knob() -> None:
    assert knobs.table() in (ROOT / "docs/manifest.md").read_text()


def test_no_path_of_a_machine_is_written_down() -> None:
    pattern = re.compile(r"(^|[^\w.])/(home|root|Users|work)/\w")
    found = [
        f"{name}:{number}"
        for name in TRACKED
        if name != "LICENSE"
        and "/corpus/" not in name
        and (ROOT / name).suffix in {".py", ".md", ".cc", ".h", ".yaml", ".toml", ""}
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if pattern.search(line) and name != "tests/test_tidy.py"
    ]
    assert found == []
