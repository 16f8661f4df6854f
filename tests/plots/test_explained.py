"""The page of an explained report: every zone is drawn to scale against its marks, and nothing of a log is markup."""

import random
import re
from pathlib import Path

import pytest

from kmsim.plots.explained import LEFT, WIDTH, page_of
from kmsim.procfs.mem_report import MemReport, parse
from kmsim.study.explain import explain, facts

REPORTS = Path(__file__).parents[1] / "procfs" / "reports"


def page(name: str, old: str = "", new: str = "") -> str:
    (report,) = parse((REPORTS / f"{name}.txt").read_text(encoding="utf-8").replace(old, new))
    return page_of(facts(explain(report)), ["a line"])


def test_each_zone_is_drawn_with_its_marks_and_what_is_needed() -> None:
    drawn = page("order5-6.7")
    assert drawn.count("<svg") == 3
    normal = drawn[drawn.rindex("<svg") :]
    marks = {name: float(x) for x, name in re.findall(r'<line x1="([0-9.]+)"[^>]*><title>(\w+):', normal)}
    assert marks["min"] < marks["low"] < marks["high"] <= WIDTH - LEFT
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([0-9.]+)"', normal)]
    (needed,) = re.findall(r'<line x1="([0-9.]+)"[^>]*stroke-dasharray', normal)
    assert LEFT + widths[0] < float(needed)  # what it may use ends before what is needed
    assert LEFT + sum(widths) == pytest.approx(LEFT + 37444 * (WIDTH - 2 * LEFT) / (176548 // 4), abs=0.5)
    assert "36,935" in normal


def test_a_name_in_a_log_is_never_markup() -> None:
    drawn = page("order5-6.7", "app: page", "<b>a&b</b>\u202e: page")
    assert "<b>" not in drawn
    assert "&lt;b&gt;a&amp;b" in drawn
    assert "\u202e" not in drawn


def test_a_group_at_its_limit_has_a_page_without_zones() -> None:
    assert "<svg" not in page("cgroup-6.1")


def test_reports_changed_at_random_have_a_page_or_are_refused() -> None:
    rng = random.Random(3)
    texts = [path.read_text(encoding="utf-8") for path in sorted(REPORTS.glob("*.txt"))]
    drawn = 0
    for _ in range(150):
        text = rng.choice(texts)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(("9" * rng.choice((1, 15, 400)), "0", "-", "\n", " ", "<")) + text[at + 1 :]
        reports: list[MemReport] = []
        why = ""
        try:
            reports = parse(text)
        except ValueError as error:
            why = str(error)
        assert reports or why.startswith("line ")
        for report in reports:
            drawn += "</html>" in page_of(facts(explain(report)), ["a line"])
    assert drawn > 50
