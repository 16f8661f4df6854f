"""Which page of a file each read is for, and where the pages of all files lie in the machine's page cache.

Page k of a file is read with a probability proportional to k^-zipf: its first page is read most, and with an exponent
of 0 each is as likely. Numbers are drawn by inversion, one uniform number for each, among the sums of the weights; a
guide table says where to look (Chen and Asau, "On generating random variates from an empirical distribution", 1974).
Both together take 12 to 16 bytes for each page of a file. Leaves out: reads of neighbouring pages one after another,
and what is read ahead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kmsim.config.requests import RequestConfig

LOOKS_MAX = 8  # from a cell of the guide on; where the weights are small, a cell has many pages
_PART = 1 << 20  # cells that are made at once

Numbers = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PagesOfFile:
    """The pages of a file by how often each is read; numbers from 1 on."""

    nr_pages: int
    zipf: float

    @cached_property
    def upto(self) -> Numbers:
        """The weights of each page and all before it."""
        sums = np.arange(1, self.nr_pages + 1, dtype=np.float64)
        np.power(sums, -self.zipf, out=sums)
        return np.cumsum(sums, out=sums)

    @cached_property
    def guide(self) -> NDArray[np.int32]:
        """By cell, how many of the sums are at most its low end; a power of 2 cells, so that these ends are exact."""
        cells = np.empty(1 << (self.nr_pages - 1).bit_length(), np.int32)
        for first in range(0, len(cells), _PART):
            part = cells[first : first + _PART]
            ends = np.arange(first, first + len(part)) / len(cells) * self.upto[-1]
            part[:] = np.searchsorted(self.upto, ends, side="right")
        return cells

    def draw(self, rng: np.random.Generator, drawn: Numbers) -> None:
        """Fill an array with numbers of pages, each from 1 to `nr_pages`."""
        rng.random(out=drawn)
        if self.zipf == 0:
            drawn *= self.nr_pages
            np.floor(drawn, out=drawn)
        else:
            drawn[:] = self.found(drawn)
        drawn += 1

    def found(self, shares: Numbers) -> Ints:
        """How many of the sums are at most each of these shares, from 0 to 1, of all of them."""
        found = self.guide[(shares * len(self.guide)).astype(np.int64)].astype(np.int64)
        among = np.minimum(shares * self.upto[-1], np.nextafter(self.upto[-1], 0))  # rounded, it could be the whole sum
        left = np.arange(len(shares))
        for _ in range(LOOKS_MAX):
            left = left[among[left] >= self.upto[found[left]]]
            if not len(left):
                return found
            found[left] += 1
        found[left] = np.searchsorted(self.upto, among[left], side="right")
        return found


def first_pages_of(requests: Iterable[RequestConfig], page_size: int) -> tuple[dict[str, int], int]:
    """The number of each file's first page in the page cache, in the order of their names, and how many there are."""
    nr_pages = {of.file: of.nr_file_pages(page_size) for of in requests if of.file is not None}
    first, total = {}, 0
    for name in sorted(nr_pages):
        first[name] = total
        total += nr_pages[name]
    return first, total
