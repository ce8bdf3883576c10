"""Sizes of tensors' axes that are known only when a request comes: polynomials over symbols."""

from __future__ import annotations

import math
from dataclasses import dataclass

# ("batch",), ("axis", feed, number), ("count", rows), ("width", rows), ("distinct", value) or ("given", feed)
Symbol = tuple[str | int, ...]
_Monomial = tuple[Symbol, ...]

BATCH_SYMBOL: Symbol = ("batch",)


@dataclass(frozen=True, slots=True)
class Size:
    """`terms` are (symbols multiplied, coefficient), sorted, without zeros: equal sizes are equal objects."""

    terms: tuple[tuple[_Monomial, int], ...]

    @staticmethod
    def of(value: int | Size) -> Size:
        if isinstance(value, Size):
            return value
        return Size((((), int(value)),) if value else ())

    @staticmethod
    def symbol(*name: str | int) -> Size:
        return Size((((name,), 1),))

    @property
    def constant(self) -> int | None:
        """Its value, if it depends on no symbol."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    def __add__(self, other: Size | int) -> Size:
        return _collected([*self.terms, *Size.of(other).terms])

    def __neg__(self) -> Size:
        return Size(tuple((monomial, -factor) for monomial, factor in self.terms))

    def __sub__(self, other: Size | int) -> Size:
        return self + -Size.of(other)

    def __mul__(self, other: Size | int) -> Size:
        return _collected(
            [
                (tuple(sorted((*left, *right), key=repr)), a * b)
                for left, a in self.terms
                for right, b in Size.of(other).terms
            ]
        )

    def divided_by(self, other: Size) -> Size | None:
        """Exactly, by a product of symbols and a number; None if it does not go."""
        if len(other.terms) != 1:
            return None
        monomial, factor = other.terms[0]
        found = []
        for symbols, coefficient in self.terms:
            rest = list(symbols)
            if coefficient % factor:
                return None
            for symbol in monomial:
                if symbol not in rest:
                    return None
                rest.remove(symbol)
            found.append((tuple(rest), coefficient // factor))
        return Size(tuple(sorted(found, key=repr)))

    def __str__(self) -> str:
        def name(symbol: Symbol) -> str:
            return ".".join(map(str, symbol))

        parts = [
            "*".join([*([str(factor)] if factor != 1 or not m else []), *map(name, m)]) for m, factor in self.terms
        ]
        return " + ".join(parts) or "0"


BATCH = Size.symbol(*BATCH_SYMBOL)


def product(sizes: tuple[Size, ...]) -> Size:
    return math.prod(sizes, start=Size.of(1))


def _collected(terms: list[tuple[_Monomial, int]]) -> Size:
    found: dict[_Monomial, int] = {}
    for monomial, factor in terms:
        found[monomial] = found.get(monomial, 0) + factor
    return Size(tuple(sorted(((m, f) for m, f in found.items() if f), key=repr)))
