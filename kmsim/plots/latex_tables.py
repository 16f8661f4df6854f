"""Estimates and comparisons as LaTeX (longtable, booktabs), in the words of the figures."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from kmsim.plots.responses import words_of
from kmsim.plots.roles import axis_titles, in_words
from kmsim.study.cautions import some_failed
from kmsim.study.estimates import is_shown
from kmsim.study.model_error import in_words as error_in_words

if TYPE_CHECKING:
    from kmsim.study.results import StudyResult

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MICRO SIGN}": r"$\mu$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_SPECIAL = re.compile("[" + re.escape("".join(_LATEX)) + "]")


def latex_table(study: StudyResult, name: str) -> str:
    """Estimates or comparisons as a longtable: labels, value, 95 % interval, the model's error, the share failed."""
    table = getattr(study, name)
    titles = {axis: in_words(title) for axis, title in axis_titles(study.axes).items()}
    varied = {axis: title for axis, title in titles.items() if table[axis].nunique() > 1}
    made = (_estimates if name == "estimates" else _comparisons)(study, table, varied)
    heads = " & ".join(map(latex, made.columns))
    rows = [" & ".join(latex(str(cell)) for cell in row) for row in made.itertuples(index=False)]
    body = "".join(f"{row} \\\\\n" for row in rows)
    first = list(made.columns).index("95 % interval") - 1
    spec = "l" * first + "r" * (made.shape[1] - first)
    return f"""% needs the packages booktabs and longtable
\\begin{{longtable}}{{{spec}}}
\\toprule
{heads} \\\\
\\midrule
\\endhead
{body}\\bottomrule
\\end{{longtable}}
"""


def _estimates(study: StudyResult, table: pd.DataFrame, varied: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{title: table[name] for name, title in varied.items()},
            "response": _responses(study, table),
            "mean": [_number(value) for value in table["mean"]],
            "95 % interval": _intervals(table),
            "model's error": [error_in_words(error, "%") for error in table["model_error"]],
            **({"failed (%)": [_number(share) for share in table["failed_share"]]} if some_failed(table) else {}),
        }
    )


def _comparisons(study: StudyResult, table: pd.DataFrame, varied: dict[str, str]) -> pd.DataFrame:
    others = {name: title for name, title in varied.items() if not (table["axis"] == name).all()}
    ends = ("baseline_failed_share", "failed_share")
    failed = {"failed (%)": [_of_both(*shares) for shares in zip(*(table[end] for end in ends), strict=True)]}
    errors = zip(table["model_error"], table["unit"], strict=True)
    return pd.DataFrame(
        {
            **{title: table[name] for name, title in others.items()},
            "level": table["level"],
            "baseline": table["baseline"],
            "response": _responses(study, table),
            "difference": [_number(value) for value in table["difference"]],
            "95 % interval": _intervals(table),
            "model's error": [error_in_words(error, unit) for error, unit in errors],
            "differs": _verdicts(table),
            **(failed if some_failed(table) else {}),
        }
    )


def _verdicts(table: pd.DataFrame) -> list[str]:
    """Does each row differ (Holm), and by more than the model's error?"""
    shown, significant = is_shown(table), table["significant"].astype(bool)
    pairs = zip(shown, significant, strict=True)
    return ["yes" if is_so else "within the model's error" if may_be else "not shown" for is_so, may_be in pairs]


def _responses(study: StudyResult, table: pd.DataFrame) -> list[str]:
    """What each row is about, in words, with its unit."""
    words = {response.name: words_of(response) for response in study.responses_config}
    pairs = zip(table["response"], table["unit"], strict=True)
    return [f"{words[response]} ({unit})" if unit else words[response] for response, unit in pairs]


def _of_both(baseline: float, level: float) -> str:
    return "" if math.isnan(baseline) and math.isnan(level) else f"{_number(baseline)} to {_number(level)}"


def _intervals(table: pd.DataFrame) -> list[str]:
    ends = zip(table["ci_low"], table["ci_high"], strict=True)
    return ["" if math.isnan(low) else f"{_number(low)} to {_number(high)}" for low, high in ends]


def _number(value: Any) -> str:
    return "" if math.isnan(value) else f"{value:,.4g}"


def latex(text: str) -> str:
    """A text in LaTeX that is printed as it is."""
    return _SPECIAL.sub(lambda found: _LATEX[found[0]], text)
