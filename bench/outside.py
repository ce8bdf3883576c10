"""`python -m bench.outside`: models that other packages build, as fused plans: what is fused, and what that gains.

Needs deepctr, tensorflow-recommenders and tf-keras beside Corelane; the first two ask pip for another TensorFlow:

  pip install --no-deps deepctr tensorflow-recommenders tf-keras
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import prepared
from bench.environment import describe, header
from corelane.terminal import table

_NEEDS = {
    "deepctr": ("deepctr", "tf_keras"),
    "recommenders": ("tensorflow_recommenders", "tf_keras"),
    "keras": ("keras",),
}
_BATCHES = (1, 100)

_EXPLANATION = """\
nodes       operations that a request runs, calls inlined: TensorFlow's, and those behind the features
fused       inputs whose every use is a feature, of all; others are features in part, or numbers for the dense part
rest        what runs behind the features
difference  the largest of an output, by the largest of its kind, on so many requests made to find one
ratio       CPU time of a request in TensorFlow by that in the plan, one thread, made-up inputs"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`why_not` is why a model is not fused; the rest is None then."""

    model: str
    nodes_before: int | None = None
    nodes_after: int | None = None
    inputs: int | None = None
    fused: int | None = None
    rest: str | None = None
    requests: int | None = None
    difference: float | None = None
    ratios: dict[int, float] | None = None
    why_not: str = ""


def compiled(folder: Path, out: Path) -> Row:
    """What `corelane compile` says of a model."""
    command = [sys.executable, "-P", "-m", "corelane", "compile", str(folder), str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Row(model=folder.parent.name, why_not=done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    report = found["signatures"][-1]
    plan = json.loads((out / "plan.json").read_text())["signatures"][-1]
    return Row(
        model=folder.parent.name,
        nodes_before=report["nodes_before"],
        nodes_after=report["nodes_after"],
        inputs=len(plan["inputs"]),
        fused=report["columns"],
        rest="TensorFlow" if report["why_tensorflow"] else "OpenVINO",
        requests=found["equality"]["accepted"],
        difference=found["equality"]["difference"],
        ratios={one["rows"]: one["ratio"] for one in found["costs"]},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--packages", nargs="*", choices=list(_NEEDS), default=list(_NEEDS))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for package in options.packages[-1:] if options.smoke else options.packages:
            missing = [module for module in _NEEDS[package] if importlib.util.find_spec(module) is None]
            if missing:
                raise SystemExit(f"{package}: {', '.join(missing)} is not installed; see --help")
            folders = prepared.outside_models(package)
            for folder in folders[:1] if options.smoke else folders:
                print(f"compiling {folder.parent.name} ...", file=sys.stderr, flush=True)
                rows.append(compiled(folder, Path(temporary) / folder.parent.name))
    if options.json:
        print(json.dumps({"environment": describe(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    titles = ["model", "nodes", "fused", "rest", "difference", *(f"ratio at {batch}" for batch in _BATCHES)]
    print(table(titles, [_cells(row) for row in rows if not row.why_not]))
    for row in rows:
        if row.why_not:
            print(f"\n{row.model} is TensorFlow's: {row.why_not}")
    print("\n" + _EXPLANATION)


def _cells(row: Row) -> list[object]:
    ratios = row.ratios or {}
    return [
        row.model,
        f"{row.nodes_before} to {row.nodes_after}",
        f"{row.fused} of {row.inputs}",
        row.rest,
        f"{row.difference:.0e} on {row.requests}",
        *(f"{ratios[batch]:.1f}x" if batch in ratios else None for batch in _BATCHES),
    ]


if __name__ == "__main__":
    main()
