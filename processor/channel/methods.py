"""The calls a worker answers, and how they come to it, as they are numbered on the channel."""

from enum import IntEnum


class Method(IntEnum):
    PREDICT = 1
    CLASSIFY = 2
    REGRESS = 3
    MULTI_INFERENCE = 4
    METADATA = 5
    INFER = 6


class Entry(IntEnum):
    """How a request came in."""

    GRPC = 0
    REST = 1
    SHADOW = 2  # a copy of another version's request


class Assignment(IntEnum):
    """Why a request went to this version and not to another of its model."""

    NAMED = 0
    LABELLED = 1
    HIGHEST = 2  # there is no split
    SPLIT = 3
    STICKY = 4  # the split, by the request's key
    SHADOWED = 5
