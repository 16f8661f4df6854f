"""Shares of memory: how they are written, and how many pages they are."""

from typing import Any

import pytest

from kmsim.config import ConfigError, Filled, dump, from_mapping, loads


def filled(**shares: Any) -> Filled:
    machine = {"extends": "x86-laptop", "state": {"filled": shares}}
    study = from_mapping({"machine": machine, "workload": {"threads": [{"name": "a"}]}})
    assert loads(dump(study)) == study
    assert isinstance(study.machine.state, Filled)
    assert study.reclaims
    return study.machine.state


@pytest.mark.parametrize("share", ["60%", " 60.0 % ", 0.6, "060%"])
def test_a_share_is_written_in_percent_or_as_a_number(share: Any) -> None:
    assert filled(page_cache=share).filled.page_cache == 0.6
    assert filled(anonymous=share).filled.anonymous == 0.6


@pytest.mark.parametrize(
    "share", ["60 percent", "-1%", "101%", "1e1%", "\u0666%", "%", "0.6", -0.1, 1.1, None, [0.6], True]
)
def test_nothing_else_is_a_share(share: Any) -> None:
    with pytest.raises(ConfigError, match=r"filled\.page_cache: must be a share of memory such as 60% or 0\.6"):
        filled(page_cache=share)


@pytest.mark.parametrize("shares", [(0.65, "30%"), (0.95, 0), (0, "95%"), (0.0001, 0), ("33.3%", "61.7%")])
def test_both_shares_are_at_most_95_percent_together(shares: tuple[Any, Any]) -> None:
    assert filled(page_cache=shares[0], anonymous=shares[1]).kind == "filled"


@pytest.mark.parametrize("shares", [(0, 0), (0.65, "30.1%"), (1, 0), ("95%", "1%")])
def test_shares_of_nothing_or_of_more_are_refused(shares: tuple[Any, Any]) -> None:
    with pytest.raises(ConfigError, match="more than 0 and at most 95% together"):
        filled(page_cache=shares[0], anonymous=shares[1])


def test_shares_are_of_the_pages_that_the_allocator_manages() -> None:
    assert filled(page_cache="60%", anonymous=0.301).filled.nr_pages(1001) == (600, [301])
    assert filled(anonymous="10%").filled.nr_pages(9) == (0, [0])
