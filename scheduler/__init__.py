"""What the host has and who gets it: pure functions over frozen dataclasses. Reads topology, does no other I/O."""

from scheduler.topology import Host, read_host

__all__ = ["Host", "read_host"]
