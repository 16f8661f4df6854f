"""The responses of a study as figures ask for them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kmsim.config.responses import FILTERS
from kmsim.plots.lettering import counted
from kmsim.study.estimates import BY_BATCHES
from kmsim.units import format_size

NOUNS = {"alloc": "allocations", "free": "frees"}
THIS_SIZE = "of this size"  # in the meaning of a measure
SAID = ("kind", "block")  # filters that the words themselves say


def asked(result: Any, name: str | None) -> Any:
    """The config of the response of this name; of none, the first."""
    configs = tuple(result.responses_config)
    assert configs, "a study has responses"
    found = next((config for config in configs if config.name == name), None) if name else configs[0]
    assert found is not None, f"no response {name}: the config's check"
    return found


def said(config: Any, key: str) -> Any:
    """What a figure's config says of this key; None where it leaves the choice to the figure."""
    return getattr(config, key) if key in config.model_fields_set else None


def words_of(response: Any) -> str:
    """What a response is, as an axis says it: its measure, and of which of the operations, blocks or locks."""
    words = response.meaning
    if response.block is not None:
        size = format_size(response.block)
        words = words.replace("of this size", f"of {size}") if THIS_SIZE in words else f"{words}, for {size}"
    if response.of_kind == "free" or (response.of_kind and response.kind):
        words = f"{words} of {NOUNS[response.of_kind]}"
    filters = {word: getattr(response, word) for word in FILTERS if word not in SAID}
    told = [f"{word} {value}" for word, value in filters.items() if value is not None]
    return ", ".join([words[0].upper() + words[1:], *told])


def estimates_of(result: Any, response: str) -> pd.DataFrame:
    """The estimates of one response, a row for each point."""
    estimates: pd.DataFrame = result.estimates
    return estimates[estimates["response"] == response]


def behind(rows: pd.DataFrame) -> str:
    """How many observations are behind each estimate of these, and of what: runs, or batches of one."""
    by_batches = len(rows) > 0 and (rows["method"] == BY_BATCHES).all()
    return counted(rows["n"], "batches of one run" if by_batches else "runs")
