"""The calls a worker answers, as they are numbered on the channel."""

from enum import IntEnum


class Method(IntEnum):
    PREDICT = 1
    CLASSIFY = 2
    REGRESS = 3
    MULTI_INFERENCE = 4
    METADATA = 5
