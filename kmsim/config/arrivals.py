"""Open loops: requests that arrive at given times, whether or not the one before is done.

Every interval is at least a picosecond, so that no source stands still.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, Tag

from kmsim.config.quantities import Model, count, only_key, time

ARRIVAL_KEYS = ("constant", "poisson", "bursts", "on_off")
BURST_MAX = 10**6

Interval = Annotated[int, time(1)]


class Steady(Model):
    """One request after each interval."""

    kind: ClassVar[str] = "constant"
    constant: Interval

    @property
    def mean_ps(self) -> float:
        """The mean time from one request to the next."""
        return self.constant


class Poisson(Model):
    """Independent requests, with this mean interval."""

    kind: ClassVar[str] = "poisson"
    poisson: Interval

    @property
    def mean_ps(self) -> float:
        """The mean time from one request to the next."""
        return self.poisson


class BurstShape(Model):
    """The mean time between two bursts, and how many requests arrive together in each."""

    every: Interval
    size: Annotated[int, count(1, BURST_MAX)]


class Bursts(Model):
    """Several requests at a time, the bursts as in a Poisson process."""

    kind: ClassVar[str] = "bursts"
    bursts: BurstShape

    @property
    def mean_ps(self) -> float:
        """The mean time from one request to the next."""
        return self.bursts.every / self.bursts.size


class OnOffShape(Model):
    """How long requests arrive, how long none does, and their mean interval while they do."""

    on: Interval
    off: Interval
    every: Interval


class OnOff(Model):
    """A Poisson process that is switched on and off in turn; it begins switched on."""

    kind: ClassVar[str] = "on_off"
    on_off: OnOffShape

    @property
    def mean_ps(self) -> float:
        """The mean time from one request to the next."""
        return self.on_off.every * (self.on_off.on + self.on_off.off) / self.on_off.on


def _checked(value: Any) -> Any:
    if not isinstance(value, Model):
        only_key(value, ARRIVAL_KEYS, "arrivals")
    return value


def _tag(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields
    return next(f"~{name}" for name in ARRIVAL_KEYS if name in keys)


Arrivals = Annotated[
    Annotated[Steady, Tag("~constant")]
    | Annotated[Poisson, Tag("~poisson")]
    | Annotated[Bursts, Tag("~bursts")]
    | Annotated[OnOff, Tag("~on_off")],
    Discriminator(_tag),
    BeforeValidator(_checked),
]
