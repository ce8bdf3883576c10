"""`python -m bench.soak`: a thousand cycles of loading and unloading a small model; exits 1 if anything grows.

The bounds are on the supervisor and the gateways, which live throughout; a worker takes its memory with it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.environment import header
from tests.support import onnx_models
from tests.support.cycles import Usage, cycle
from tests.support.server import serving

_MEMORY_BYTES_MAX = 16 << 20
_DESCRIPTORS_MAX = 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000)
    options = parser.parse_args()
    print(header())

    def progress(done: int, growth: Usage) -> None:
        if done % max(1, options.cycles // 20) == 0:
            print(
                f"{done:>5} cycles: {growth.memory_bytes / 2**20:+.1f} MiB, {growth.descriptors:+d} descriptors, "
                f"{growth.processes:+d} processes",
                flush=True,
            )

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        onnx_models.write_scale(folder / "a/1", 1)
        with serving(folder, "models: [{name: a, path: a}]") as server:
            without = server.manifest.read_text().replace("{name: a, path: a}", "")
            growth = cycle(server, without, "a", options.cycles, progress)
    fine = growth.processes == 0 and growth.descriptors <= _DESCRIPTORS_MAX and growth.memory_bytes <= _MEMORY_BYTES_MAX
    print("no growth" if fine else f"it grows: {growth}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
