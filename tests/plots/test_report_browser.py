"""The page of a result in a browser: what is pressed, dragged and typed does what it should, and nothing complains."""

from itertools import pairwise
from pathlib import Path

import pytest

from kmsim.plots.report import write_report
from kmsim.study.cautions import ONE_SEED, stuck
from tests.plots.browser import CANVAS, ENTER, READOUT, SPACE, TAB, Browser
from tests.plots.report_studies import Shape, hostile_study, plain_run, study_result

pytestmark = pytest.mark.slow

NONE = "\u2013"
# Everything that a mouse can use.
USABLE = "a[href], button, input, select, summary, canvas"
# For each text: its contrast with what is behind it (WCAG 2, 1.4.3).
CONTRASTS = """(() => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = rgb(colour).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if ((rgb(colour)[3] ?? 1) === 1) return colour;
    }
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll("body *")].filter((e) => own(e) && e.checkVisibility() && !e.closest(".swatch"))
    .map((e) => {
      const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
      return [e.tagName, (a + 0.05) / (b + 0.05)];
    });
})()
"""


# ---- what is on it


def test_a_page_shows_its_study(shown: Browser) -> None:
    assert shown.driver.title == "page_size_and_max_order: kmsim report"
    assert shown.text("#question") == "Does a larger page cost latency where little of it is asked for?"
    images = shown.run("[...document.images].map((image) => [image.alt, image.naturalWidth > 500, image.complete])")
    assert ["Figure: How long does an operation take?", True, True] in images
    assert len(images) == 3
    assert shown.find("figcaption a").get_attribute("href").startswith("data:text/csv;charset=utf-8,time_ns")
    assert len(shown.run("document.querySelectorAll('nav a')")) == 10
    assert shown.text("#tracebacks summary") == "Traceback of abc"


def test_warnings_are_seen_in_red(chromium: Browser, tmp_path: Path) -> None:
    study = study_result()
    chromium.open(write_report(study, tmp_path / "several.html"))
    assert chromium.run("[...document.querySelectorAll('#warnings li')].map((e) => e.textContent)") == [stuck(study)]
    chromium.open(write_report(plain_run(), tmp_path / "one.html"))
    assert chromium.text("#warnings") == ONE_SEED
    red, green, blue = chromium.run(
        "getComputedStyle(document.querySelector('#warnings li')).color.match(/\\d+/g).map(Number)"
    )
    assert red > 150
    assert max(green, blue) < 50
    assert chromium.complaints() == []


def test_every_part_has_something_in_it(shown: Browser) -> None:
    empty = "[...document.querySelectorAll('main div[id]')].filter((e) => !e.textContent.trim() && !e.hidden)"
    assert shown.run(f"{empty}.map((e) => e.id)") == []


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(shown: Browser, width: int) -> None:
    shown.resize(width)
    assert boxes(shown, width) == []


def boxes(shown: Browser, width: int) -> list[str]:
    """What is wider than the window outside of tables that scroll, and parts that cover each other."""
    wide = (
        "[...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll *, .skip, option, noscript'))"
        f".filter((e) => e.getBoundingClientRect().right > {width} + 1).map((e) => e.tagName + '#' + e.id)"
    )
    parts = "[...document.querySelectorAll('header, nav, section, footer')].map((e) => e.getBoundingClientRect())"
    edges = shown.run(f"{parts}.map((box) => [box.top, box.bottom])")
    covered = [f"part {n}" for n, (a, b) in enumerate(pairwise(edges)) if a[1] > b[0] + 1]
    too_wide = shown.run("document.documentElement.scrollWidth") > width
    return [*shown.run(wide), *covered, *(["the page scrolls sideways"] if too_wide else [])]


# ---- tables


def test_a_filter_filters(shown: Browser) -> None:
    response = shown.heading("estimates", "response")
    assert len(shown.column("estimates", 1)) == 12
    shown.find("#estimates-filter").send_keys("P999 16kib")
    assert shown.column("estimates", response) == ["alloc_p999"] * 2
    assert shown.text("#estimates [role=status]") == "2 of 12 rows"
    shown.find("#estimates-filter").send_keys(" nothing like it")
    assert shown.column("estimates", response) == []
    shown.find("#estimates-filter").clear()
    shown.find("#estimates-filter").send_keys("16384" + "\ue003" * 5)
    assert len(shown.column("estimates", response)) == 12


def test_a_heading_sorts_numbers_as_numbers_and_none_last(shown: Browser) -> None:
    mean = shown.heading("estimates", "mean")
    button = shown.find(f"#estimates th:nth-child({mean}) button")
    button.click()
    rising = shown.column("estimates", mean)
    numbers = [float(text.replace(",", "")) for text in rising[:-1]]
    assert rising[-1] == NONE
    assert numbers == sorted(numbers)
    assert shown.run("document.querySelector('#estimates [aria-sort]').ariaSort") == "ascending"
    button.send_keys(ENTER)
    falling = shown.column("estimates", mean)
    assert falling == [*rising[-2::-1], NONE]
    assert shown.run("document.querySelector('#estimates [aria-sort]').ariaSort") == "descending"


def test_rows_come_a_hundred_at_a_time(chromium: Browser, tmp_path: Path) -> None:
    shape = Shape(nr_points=100, nr_snapshots=1, zones=(("Normal", 0, 4),))
    chromium.open(write_report(study_result(shape), tmp_path / "report.html"))
    more = chromium.find("#runs .controls:last-child button")
    assert len(chromium.column("runs", 1)) == 100
    more.click()
    more.click()
    assert chromium.column("runs", 1) == [str(n) for n in range(300)]
    assert not more.is_displayed()
    assert chromium.complaints() == []


def test_rows_are_saved_as_they_are_shown(shown: Browser) -> None:
    shown.run("(window.saved = '', HTMLAnchorElement.prototype.click = function () { saved = this.href; })")
    shown.find("#axes-filter").send_keys("workload")
    shown.find("#axes .controls button").click()
    assert shown.run("decodeURIComponent(saved.split(',').slice(1).join(','))") == (
        '"axis","number of levels","levels"\n"workload","2","net-rx 0, net-rx 1"\n'
    )


def test_another_run_can_be_shown(shown: Browser) -> None:
    before = shown.text(READOUT), shown.run(CANVAS)
    shown.find("#shown-choice select").send_keys("run 3")
    shown.wait("document.querySelector('#map-readout').textContent.startsWith('Pageblock')")
    assert shown.find("#shown-choice select").get_attribute("value") == "1"
    assert shown.run(CANVAS) != before[1]
    assert shown.text(READOUT) != before[0]
    assert len(shown.column("operations", 1)) == 6


# ---- for everybody


def test_the_keyboard_reaches_everything(shown: Browser) -> None:
    usable = f"[...document.querySelectorAll('{USABLE}')].filter((e) => e.checkVisibility())"
    nr_usable = shown.run(f"({usable}.forEach((e) => (e.unreached = true)), {usable}.length)")
    assert nr_usable > 80
    outlines = set()
    for _ in range(nr_usable + 60):
        shown.type(TAB)
        shown.run("(document.activeElement.unreached = false)")
        outlines.add(
            shown.run("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle].join()")
        )
    assert shown.run(f"{usable}.filter((e) => e.unreached).map((e) => e.outerHTML.slice(0, 80))") == []
    assert {outline for outline in outlines if outline.endswith("none")} <= {"BODY,none"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_sets_of_colours(chromium: Browser, page: Path, scheme: str) -> None:
    chromium.open(page, scheme=scheme)
    for _ in range(2):  # as the system has it, and as the button has it
        contrasts = chromium.run(CONTRASTS)
        assert len(contrasts) > 300
        assert [found for found in contrasts if found[1] < 4.5] == []
        chromium.find("#theme").click()
    assert chromium.complaints() == []


def test_dark_and_light_follow_the_system_and_the_button(chromium: Browser, page: Path) -> None:
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    chromium.open(page, scheme="light")
    light, map_in_light = chromium.run(paper), chromium.run(CANVAS)
    chromium.open(page, scheme="dark")
    dark, map_in_dark = chromium.run(paper), chromium.run(CANVAS)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(22, 24, 29)")
    assert map_in_light != map_in_dark  # its numbers
    assert chromium.find("#theme").text == "Light colours"
    chromium.find("#theme").send_keys(SPACE)
    assert chromium.run(paper) == light
    assert chromium.run(CANVAS) == map_in_light
    assert chromium.find("#theme").text == "Dark colours"


def test_a_control_has_a_name(shown: Browser) -> None:
    for element in shown.driver.find_elements("css selector", USABLE + ", [role=region]"):
        if element.is_displayed():
            assert element.accessible_name, element.get_attribute("outerHTML")


# ---- text of others


def outline(chromium: Browser) -> list[str]:
    """Every element with its place and the names of its attributes, but for how long its text is."""
    return [
        str(line)
        for line in chromium.run(
            "[...document.querySelectorAll('*')].map((e) => e.parentElement?.tagName + '>' + e.tagName + ' ' "
            "+ [...e.attributes].map((a) => a.name).join(' '))"
        )
    ]


def test_hostile_text_changes_nothing(chromium: Browser, tmp_path: Path) -> None:
    for name, study in (("plain", study_result()), ("hostile", hostile_study())):
        write_report(study, tmp_path / f"{name}.html")
    chromium.open(tmp_path / "plain.html")
    expected = outline(chromium)
    chromium.open(tmp_path / "hostile.html")
    assert outline(chromium) == expected
    assert chromium.run("window.hacked") is None
    assert "<script>window.hacked = 1</script>" in chromium.text("h1")
    assert chromium.run("getComputedStyle(document.querySelector('h1')).unicodeBidi") == "isolate"
    for width in (1280, 400):
        chromium.resize(width)
        assert boxes(chromium, width) == []
    chromium.find("#estimates-filter").send_keys("<script>")
    for summary in chromium.driver.find_elements("css selector", "summary"):
        summary.click()
    assert chromium.run("window.hacked") is None
    assert chromium.complaints() == []


def test_a_script_that_got_in_would_not_run(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    for element, key, value in (("script", "textContent", "hacked = 1"), ("img", "src", "https://kernel.org/logo.png")):
        chromium.run(f"document.body.append(Object.assign(document.createElement('{element}'), {{{key}: '{value}'}}))")
    assert chromium.run("window.hacked") is None
    said = chromium.complaints()
    assert len(said) == 2
    assert all("Content Security Policy" in text for text in said)


# ---- studies of other shapes


def test_a_run_alone_is_shown(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(write_report(plain_run(), tmp_path / "report.html"))
    assert chromium.text("#comparisons") == "The study compares nothing."
    assert chromium.text("#map").startswith("The run has kept no map of its memory")
    assert chromium.text("#left-out") == "Nothing."
    assert chromium.complaints() == []
