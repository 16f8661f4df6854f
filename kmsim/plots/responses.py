"""The responses of a study as figures ask for them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kmsim.config.responses import FILTERS
from kmsim.plots.lettering import counted, plain
from kmsim.study.estimates import BY_BATCHES
from kmsim.units import format_size

NOUNS = {"alloc": "allocations", "free": "frees"}


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


def meaning_of(response: Any) -> str:
    """What a response is, where its name does not say it: its measure and of what."""
    kind = getattr(response, "of_kind", None)
    filters = {word: getattr(response, word, None) for word in FILTERS if word != "kind"}
    words = [response.meaning + (f" of {NOUNS[kind]}" if kind else "")]
    words += [
        f"{word} {format_size(value) if word == 'block' else value}"
        for word, value in filters.items()
        if value is not None
    ]
    return f"{plain(response.name)}: {plain(', '.join(words), 120)}"


def estimates_of(result: Any, response: str) -> pd.DataFrame:
    """The estimates of one response, a row for each point."""
    estimates: pd.DataFrame = result.estimates
    return estimates[estimates["response"] == response]


def behind(rows: pd.DataFrame) -> str:
    """How many observations are behind each estimate of these, and of what: runs, or batches of one."""
    by_batches = len(rows) > 0 and (rows["method"] == BY_BATCHES).all()
    return counted(rows["n"], "batches of one run" if by_batches else "runs")
