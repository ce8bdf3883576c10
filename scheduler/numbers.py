"""Numbers as people write them: three significant digits, no exponents, k and M for thousands and millions."""

import math
from decimal import Decimal

_LETTERS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_LETTERS_FROM = 9999.5  # below, four digits are as short


def figure(value: float) -> str:
    """12345, 123, 12.3, 1.23, 0.12, 0.04, 0.0004: for times and shares; the caller adds the unit."""
    if not math.isfinite(value):
        return "never" if value > 0 else "-"
    size = abs(value)
    if size >= 99.95:
        return f"{value:.0f}"
    if size >= 0.9995:
        digits = 1 if size >= 9.995 else 2
    elif size == 0:
        digits = 0
    else:
        digits = min(9, 1 - math.floor(math.log10(size)))  # two significant digits
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def amount(value: float) -> str:
    """3.4 M, 12.5 k, 850, 0.5: for rates and counts."""
    if abs(value) >= _LETTERS_FROM and math.isfinite(value):
        for unit, letter in _LETTERS:
            if abs(value) >= unit * 0.9995:
                return f"{figure(value / unit)} {letter}"
    return figure(value)


def percent(share: float) -> str:
    """A percentage to its last digit, without an exponent: YAML 1.1 reads an exponent as text."""
    share = float(share)
    return str(int(share)) if share.is_integer() else f"{Decimal(repr(share)):f}"
