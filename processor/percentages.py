"""Percentages as text."""

from decimal import Decimal


def percent(share: float) -> str:
    """A share as people and YAML write it: to its last digit, without an exponent, which YAML 1.1 takes for text."""
    share = float(share)
    return str(int(share)) if share.is_integer() else f"{Decimal(repr(share)):f}"
