"""What is wrong with a manifest's value, in words for whoever writes it."""

import datetime
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import PydanticCustomError

from corelane.processor.manifest.paths import shown


def problem(message: str) -> PydanticCustomError:
    """What a validator raises; `sentence` gives the message back as it is."""
    return PydanticCustomError("manifest", "{message}", {"message": message})


def given(value: Any) -> str:
    """A value as YAML has it, for a sentence that says what should stand there instead."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, (int, float)):
        return shown_number(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return f"the date {value}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) and not isinstance(value, bytes) else "this"


def shown_number(value: float) -> str:
    """Not too long: an integer of YAML may have thousands of digits."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of over 40 digits"
    return str(value)


def sentence(item: Mapping[str, Any], known_keys: Sequence[str]) -> str:
    """For an error of the schema's validation; `known_keys` are those that may stand beside an unknown key."""
    kind, value, bounds = item["type"], item["input"], item.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), known_keys, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known_keys)}"
        return f"is not a key; {hint}"
    if kind == "missing":
        return "is missing"
    if kind == "manifest":
        return str(item["msg"])
    if kind == "literal_error":
        choices = bounds["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
        return f"should be {bounds['expected']}, not {given(value)}{f'; did you mean {near[0]}?' if near else ''}"
    if kind in ("string_too_short", "too_short"):
        return "should not be empty"
    hint = "; put it in quotes" if kind == "string_type" and isinstance(value, (int, float, datetime.date)) else ""
    return f"should be {_right(kind, bounds)}, not {given(value)}{hint}"


def _right(kind: str, bounds: Mapping[str, Any]) -> str:
    """What a value should be, by the name that the validation has for the error."""
    match kind:
        case "int_type" | "int_from_float" | "int_parsing" | "int_parsing_size":
            return "a whole number"
        case "float_type":
            return "a number"
        case "finite_number":
            return "a finite number"
        case "bool_type":
            return "true or false"
        case "string_type":
            return "text"
        case "list_type":
            return "a list"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "a mapping of keys to values"
        case "greater_than_equal":
            return f"at least {_number(bounds['ge'])}"
        case "greater_than":
            return f"more than {_number(bounds['gt'])}"
        case "less_than_equal":
            return f"at most {_number(bounds['le'])}"
        case "less_than":
            return f"less than {_number(bounds['lt'])}"
    return "another value"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
