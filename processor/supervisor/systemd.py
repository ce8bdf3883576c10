"""What systemd wants to hear: READY, RELOADING, STOPPING, and that we are alive (`Type=notify`, `WatchdogSec=`)."""

import logging
import os
import socket
import time
from collections.abc import Mapping

_logger = logging.getLogger("corelane")


class Notifier:
    """Says nothing where systemd does not listen. Belongs to the event loop's thread: that it still says so is what the
    watchdog is for."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(watchdog_us) / 2e6 if watchdog_us.isdecimal() and mine else 0.0
        self._next_s = 0.0
        self._ready = False

    def ready(self, what: str) -> None:
        """When the server is up; what it says of itself may change."""
        self._send(f"STATUS={what}" if self._ready else f"READY=1\nSTATUS={what}")
        self._ready = True

    def reloaded(self, what: str) -> None:
        """A manifest was applied."""
        if self._ready:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._send(f"READY=1\nSTATUS={what}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=answering what was accepted")

    def alive(self) -> None:
        """From the loop, often."""
        if self._every_s and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto(text.encode(), self._address)
        except OSError as error:
            _logger.warning("systemd does not hear us: %s", error)
