"""Which page of a file each read is for, and where the pages of all files lie in the machine's page cache.

Page k of a file is read with a probability proportional to k^-zipf: its first page is read most, and with an exponent
of 0 each is as likely. Numbers are drawn by inversion, one uniform number for each, among the sums of the weights,
which take 8 bytes for each page of a file. Leaves out: reads of neighbouring pages one after another, and
what is read ahead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kmsim.config.requests import RequestConfig

Numbers = NDArray[np.float64]


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

    def draw(self, rng: np.random.Generator, drawn: Numbers) -> None:
        """Fill an array with numbers of pages, each from 1 to `nr_pages`."""
        rng.random(out=drawn)
        if self.zipf == 0:
            drawn *= self.nr_pages
            np.floor(drawn, out=drawn)
        else:
            drawn *= self.upto[-1]
            drawn[:] = np.searchsorted(self.upto, drawn, side="right")
        drawn += 1
        np.minimum(drawn, self.nr_pages, out=drawn)  # rounded up, a number can be the whole sum


def first_pages_of(requests: Iterable[RequestConfig], page_size: int) -> tuple[dict[str, int], int]:
    """The number of each file's first page in the page cache, in the order of their names, and how many there are."""
    nr_pages = {of.file: of.nr_file_pages(page_size) for of in requests if of.file is not None}
    first, total = {}, 0
    for name in sorted(nr_pages):
        first[name] = total
        total += nr_pages[name]
    return first, total
