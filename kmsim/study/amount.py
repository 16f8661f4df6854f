"""Times that know of which prices they are the sum: the model's own arithmetic, followed price by price.

A price is an `Amount` of itself. Sums and products of amounts are amounts, so what the model computes from its prices
says what it is made of, and no second formula is needed. Works where the model runs as plain Python: numpy's numbers
leave the arithmetic to the amount, and a record that an amount is written into keeps the number alone.
"""

from __future__ import annotations

from typing import Any


class Amount(int):
    """A number of picoseconds, and how often each price is in it; what came from no price is under ``""``."""

    __array_ufunc__ = None  # of numpy's numbers: they ask the amount first
    __hash__ = int.__hash__
    counts: dict[str, int]

    def __new__(cls, picoseconds: int, counts: dict[str, int]) -> Amount:
        """A number with its parts."""
        self = super().__new__(cls, picoseconds)
        self.counts = counts
        return self

    def __add__(self, other: Any) -> Amount:
        counts = dict(self.counts)
        for price, count in _counts_of(other).items():
            counts[price] = counts.get(price, 0) + count
        return Amount(int(self) + int(other), counts)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Amount:
        return self + Amount(-int(other), {price: -count for price, count in _counts_of(other).items()})

    def __mul__(self, times: Any) -> Amount:
        return Amount(int(self) * int(times), {price: count * int(times) for price, count in self.counts.items()})

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return int(self) == other

    def __lt__(self, other: Any) -> bool:
        return int(self) < int(other)

    def __gt__(self, other: Any) -> bool:
        return int(self) > int(other)

    def __le__(self, other: Any) -> bool:
        return int(self) <= int(other)

    def __ge__(self, other: Any) -> bool:
        return int(self) >= int(other)


def price_of(name: str, picoseconds: int) -> Amount:
    """One price."""
    return Amount(picoseconds, {name: 1})


def _counts_of(other: Any) -> dict[str, int]:
    return other.counts if isinstance(other, Amount) else {"": int(other)} if other else {}
