"""`python -m bench.memory`: what versions of one model take, whose tables are equal.

A server with one version, then with two, by TensorFlow and as fused plans: the memory of their workers, shared pages
counted once.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench import prepared
from bench.environment import describe, header
from corelane.terminal import table
from tests.support.server import serving

_MIB = 1 << 20
_EXPLANATION = """\
MiB       of the workers: private pages, and shared ones (PSS), after the versions are available
SavedModel  size of its variables on disk"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    model: str
    saved_mib: float
    engine: str
    one_mib: float
    two_mib: float


def measure(name: str, version: Path, engine: str) -> Row:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in (1, 2):
            shutil.copytree(version, folder / "models" / str(number))
        found = []
        for versions in ("[{version: 1}]", "[{version: 1}, {version: 2}]"):
            entry = f"{{name: m, path: {folder / 'models'}, engine: {engine}, precision: fp32, versions: {versions}}}"
            with serving(folder, f"models: [{entry}]") as server:
                count = versions.count("version")
                for number in range(1, count + 1):
                    server.wait_state("m", number, "AVAILABLE", timeout_s=600)
                pids = [server.version("m", number)["pid"] for number in range(1, count + 1)]
                found.append(sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / _MIB)
        saved = sum(file.stat().st_size for file in version.rglob("variables*")) / _MIB
    return Row(model=name, saved_mib=saved, engine=engine, one_mib=found[0], two_mib=found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a small model")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        models = {"recom-tiny": prepared.recom_model("recom-tiny")}
    else:
        models = {"columns": prepared.models("columns") / "columns/1", "recom-tiny": prepared.recom_model("recom-tiny")}
    rows = []
    for name, version in models.items():
        for engine in ("tensorflow", "fused"):
            print(f"measuring {name} by {engine} ...", file=sys.stderr, flush=True)
            rows.append(measure(name, version, engine))
    if options.json:
        print(json.dumps({"environment": describe(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    cells = [
        [row.model, f"{row.saved_mib:.0f}", row.engine, *(f"{mib:.0f}" for mib in (row.one_mib, row.two_mib))]
        for row in rows
    ]
    print(table(["model", "SavedModel MiB", "engine", "one version MiB", "two versions MiB"], cells))
    print("\n" + _EXPLANATION)


if __name__ == "__main__":
    main()
