"""`python -m tests.support.channel_client PATH INSTANCE REQUEST_FILE SECONDS`: a gateway of its own.

Calls a channel again and again and prints the monotonic times, in ns, at which the answers came."""

import json
import os
import sys
import time
from pathlib import Path

from corelane.processor import _native


def main(path: str, instance: int, request: bytes, seconds: float) -> None:
    channel = _native.SharedChannel.map(os.open(path, os.O_RDWR), instance)
    print(json.dumps("ready"), flush=True)
    times: list[int] = []
    end_ns = time.monotonic_ns() + int(seconds * 1e9)
    while time.monotonic_ns() < end_ns:
        end, code, _ = channel.call(9, 1, request, time.monotonic_ns() + 20 * 10**9, _native.Cancellation())
        assert (end, code) == (_native.CallEnd.ANSWERED, 0)
        times.append(time.monotonic_ns())
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).read_bytes(), float(sys.argv[4]))
