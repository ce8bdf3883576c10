"""`corelane` alone is installed, beside whatever a user's folder holds; it loads only what is named."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("processor", "scheduler", "kernels", "configs")
# setup.py, with what it hands to setuptools for the wheel's files printed: packages, then native modules.
CONTENTS = """
import sys, types, setuptools
helpers = types.ModuleType("pybind11.setup_helpers")
helpers.ParallelCompile = type("ParallelCompile", (), {"install": lambda self: None})
helpers.Pybind11Extension = lambda name, sources, **options: setuptools.Extension(name, sources)
sys.modules.update({"pybind11": types.ModuleType("pybind11"), "pybind11.setup_helpers": helpers})
handed = {}
setuptools.setup = lambda **options: handed.update(options)
exec(compile(open("setup.py").read(), "setup.py", "exec"), {"__file__": "setup.py", "__name__": "__main__"})
assert not handed.keys() & {"py_modules", "package_dir", "scripts", "data_files"}
print(*handed["packages"])
print(*(module.name for module in handed["ext_modules"]))
"""


def run(code: str, folder: Path) -> str:
    """What a fresh interpreter prints that runs the code in a folder, as a user's script there would be run."""
    script = folder / "script_of_a_user.py"
    script.write_text(code)
    result = subprocess.run(
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_has_corelane_alone() -> None:
    output = subprocess.check_output([sys.executable, "-c", CONTENTS], cwd=ROOT, text=True, timeout=60)
    packages, modules = (line.split() for line in output.splitlines())
    assert {name.split(".")[0] for name in (*packages, *modules)} == {"corelane"}
    assert {"corelane", *(f"corelane.{name}" for name in PACKAGES)} <= set(packages)
    # Every folder of code is in it: none is forgotten for want of an __init__.py.
    folders = {path.parent.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert {".".join(("corelane", *folder.parts)) for folder in folders} <= set(packages)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_module_of_a_users_own_gets_in_nobodys_way(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("OWNER = 'user'")
    code = f"""
import {name}
import corelane, corelane.{name}
corelane.Client("127.0.0.1:1").close()
print({name}.OWNER, corelane.{name}.__name__)
"""
    assert run(code, tmp_path) == f"user corelane.{name}\n"


def test_corelane_loads_no_server_and_no_grpc_until_the_client_is_named(tmp_path: Path) -> None:
    code = """
import sys, corelane
print(sorted(name for name in sys.modules if name.split(".")[0] in ("corelane", "grpc", "numpy", "google")))
corelane.Client
print("grpc" in sys.modules)
print(any(name.startswith(("corelane.processor.gateway", "corelane.processor.supervisor")) for name in sys.modules))
"""
    assert run(code, tmp_path).splitlines() == ["['corelane']", "True", "False"]
