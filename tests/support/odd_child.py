"""`python -m tests.support.odd_child`: a child of the supervisor that does as the variable ODDITY says, then serves."""

import ctypes
import json
import os
import socket
import sys
import threading
import time

from corelane.processor import control
from corelane.processor.control.gateway_messages import Ready
from corelane.processor.control.messages import Failed
from corelane.processor.control.worker_messages import Drain
from corelane.processor.system import threads


def main(arguments: list[str]) -> None:
    client, _ = control.connect(arguments, Ready)
    oddity, details = json.loads(os.environ["ODDITY"])
    threads.start(lambda: client.serve(client.send), "control")  # beats go back as they came
    client.send(Ready())
    match oddity:
        case "none":
            pass
        case "hold the lock computing":
            started_s = time.monotonic()
            sum(range(1_000_000))  # in C, under Python's lock
            sum(range(round(1_000_000 * details["seconds"] / (time.monotonic() - started_s))))
        case "hold the lock sleeping":
            ctypes.PyDLL(None).sleep(600)
        case "close the connection":
            socket.socket(fileno=os.dup(int(arguments[0]))).shutdown(socket.SHUT_WR)
        case "say no message":
            os.write(int(arguments[0]), b"}{\n")
        case "say a kind that is none":
            os.write(int(arguments[0]), b'{"type":"odd"}\n')
        case "say what has no meaning here":
            client.send(Drain())
        case "hear what is no message":
            ours, theirs = socket.socketpair()
            theirs.sendall(b'{"type":"odd"}\n')
            threads.start(lambda: control.ControlClient(ours.detach()).serve(client.send), "another control")
            time.sleep(600)
        case "say too much":
            os.write(int(arguments[0]), b'"')
            data = b"a" * (1 << 20)
            while True:
                os.write(int(arguments[0]), data)
        case "say what is not understood":
            client.send(Failed(error="odd"))
        case "print without newline":
            data = b"x" * (1 << 20)
            for _ in range(details["mebibytes"]):
                while data:
                    data = data[os.write(1, data) :]
                data = b"x" * (1 << 20)
            client.send(Failed(error="printed"))
        case "end a thread":
            threads.start(lambda: None, "of great worth")
        case "fail in a thread of a library":
            threading.Thread(target=lambda: [][0], name="not ours").start()
        case "exit in a thread":
            threads.start(lambda: sys.exit(0), "of great worth")
    while True:
        time.sleep(600)


if __name__ == "__main__":
    threads.run(main, sys.argv[1:])
