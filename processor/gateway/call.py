"""A request that came in, whatever it came by."""

from dataclasses import dataclass

from corelane.processor._native import Cancellation
from corelane.processor.channel.methods import Assignment, Entry, Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """At most one of `version` and `label`. `may_wait`: the client set the deadline, so that waiting for a worker that
    restarts is in its sense. `key` is what the model's split is sticky by. `assignment` says why this version, if that
    was decided before."""

    method: Method
    model: str
    request: bytes
    deadline_ns: int
    cancellation: Cancellation
    version: int | None = None
    label: str | None = None
    may_wait: bool = False
    entry: Entry = Entry.GRPC
    key: str | None = None
    assignment: Assignment | None = None
