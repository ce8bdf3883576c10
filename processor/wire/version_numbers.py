"""What a version's number is, wherever one is read: a folder's name, a path, a request, a command line."""

from corelane.processor.errors import InvalidRequest

VERSION_MAX = (1 << 63) - 1  # an int64 on the wire
_DIGITS_MAX = len(str(VERSION_MAX))


def is_number(text: str) -> bool:
    """Whether a text is written as a version is: ASCII digits, and nothing else. It may be too large for one."""
    return text.isascii() and text.isdecimal()


def version_number(text: str) -> int | None:
    """The version that a text names; None if it names none. Zeros may stand before it, as in a folder 0020."""
    if not is_number(text) or len(text.lstrip("0")) > _DIGITS_MAX:
        return None
    number = int(text.lstrip("0") or "0")
    return number if number <= VERSION_MAX else None


def not_a_version(text: str) -> str:
    """What to say of a text that names no version."""
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return f"'{shown}' is no version: versions are whole numbers from 0 to {VERSION_MAX}"


def parse_version(text: str) -> int:
    """The version that a text names. InvalidRequest if it names none."""
    number = version_number(text)
    if number is None:
        raise InvalidRequest(not_a_version(text))
    return number
