"""Rules of the house that would decay if nothing enforced them."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from processor.knobs import Knobs
from processor.manifest import reference

ROOT = Path(__file__).parent.parent
PACKAGES = ("corelane", "processor", "scheduler", "kernels")
# What each package may import of the project.
MAY_IMPORT = {
    "kernels": {"kernels"},
    "scheduler": {"scheduler"},
    "processor": {"processor", "scheduler", "kernels"},
    "corelane": {"corelane", "processor", "scheduler", "kernels", "configs"},
    "configs": set(),
}
SOURCES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Modules that a file imports, local imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & {*MAY_IMPORT, "tests", "bench"}
    assert ours <= MAY_IMPORT[package]


def test_a_gateway_imports_no_engine() -> None:
    code = (
        "import sys, processor.gateway.process, processor.gateway.grpc_server, processor.gateway.http.server\n"
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
    long = {str(path): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 500}
    assert long == {}


def test_the_manifests_page_has_the_keys_as_the_schema_has_them() -> None:
    assert reference.table() in (ROOT / "docs/manifest.md").read_text()


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_manifests_page_has_every_knob() -> None:
    readme = (ROOT / "docs/manifest.md").read_text()
    for field in dataclasses.fields(Knobs):
        assert f"`CORELANE_{field.name.upper()}` ({field.default:g}" in readme


def test_no_path_of_a_machine_is_written_down() -> None:
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    pattern = re.compile(r"(^|[^\w.])/(home|root|Users|work)/\w")
    found = [
        f"{name}:{number}"
        for name in tracked
        if name != "LICENSE"
        and "/corpus/" not in name
        and (ROOT / name).suffix in {".py", ".md", ".cc", ".h", ".yaml", ".toml", ""}
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if pattern.search(line) and name != "tests/test_tidy.py"
    ]
    assert found == []
