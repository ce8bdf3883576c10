"""Tables of batching rules: an op has one rule, and no other module claims it."""

import pytest

from corelane.kernels.batching.registry import rule, rules_by_op


@rule("Add Mul", counts=True)
def arithmetic() -> str:
    return "arithmetic"


@rule("Mul")
def product() -> str:
    return "product"


def test_each_op_has_the_rule_that_names_it() -> None:
    table = rules_by_op([arithmetic])
    assert {op: entry.body() for op, entry in table.items()} == {"Add": "arithmetic", "Mul": "arithmetic"}
    assert table["Add"].takes_counts


def test_an_op_is_claimed_once() -> None:
    with pytest.raises(ValueError, match="two rules claim op Mul"):
        rules_by_op([arithmetic, product])
