"""Numbers as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corelane.scheduler.numbers import amount, figure


@pytest.mark.parametrize(
    ("value", "as_figure", "as_amount"),
    [
        (0, "0", "0"),
        (0.0384, "0.038", "0.038"),
        (0.04, "0.04", "0.04"),
        (0.00004, "0.00004", "0.00004"),
        (1e-12, "0", "0"),
        (-0.0, "0", "0"),
        (0.999, "1", "1"),
        (1.234, "1.23", "1.23"),
        (9.996, "10", "10"),
        (12.34, "12.3", "12.3"),
        (99.96, "100", "100"),
        (123.4, "123", "123"),
        (9999, "9999", "9999"),
        (9999.6, "10000", "10 k"),
        (12345, "12345", "12.3 k"),
        (999_960, "999960", "1 M"),
        (3.4e6, "3400000", "3.4 M"),
        (2.5e9, "2500000000", "2.5 G"),
        (-20_000, "-20000", "-20 k"),
        (math.inf, "never", "never"),
    ],
)
def test_numbers(value: float, as_figure: str, as_amount: str) -> None:
    assert (figure(value), amount(value)) == (as_figure, as_amount)


@given(st.floats(1e-6, 1e15))
def test_no_exponents_and_about_the_value(value: float) -> None:
    letters = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    number, _, letter = amount(value).partition(" ")
    assert "e" not in figure(value) + number
    assert float(figure(value)) == pytest.approx(value, rel=0.05)
    assert float(number) * letters.get(letter, 1) == pytest.approx(value, rel=0.05)
