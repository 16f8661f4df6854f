"""The memory map of a page in a browser: what it says is what was measured, by mouse and by keyboard."""

from pathlib import Path

import pytest

from kmsim.metrics.page_map import PAGE_STATES
from kmsim.plots.report import write_report
from kmsim.plots.report_map import MIGRATETYPES
from tests.plots.browser import CANVAS, DOWN, ENTER, ESCAPE, READOUT, RIGHT, Browser
from tests.plots.report_studies import SHAPE, Shape, map_rows, study_result

pytestmark = pytest.mark.slow

WORDS = ("free", "on a per-CPU list", "slab", "used", "reserved")


def told(block: int, snapshot: int, zone: str = "Normal", seed: int = 1) -> str:
    """What the page says of a pageblock."""
    rows = map_rows(SHAPE, seed)
    rows = rows[rows["zone"] == zone]
    row = rows[rows["time_ns"] == sorted(rows["time_ns"].unique())[snapshot]].iloc[block]
    counts = [f"{row[f'nr_{state}']:,} {word}" for state, word in zip(PAGE_STATES, WORDS, strict=True)]
    pfns = f"{row['start_pfn']:,} to {row['start_pfn'] + SHAPE.pages_per_block - 1:,}"
    times = f"{250 * snapshot / 1000:g} ms of 2.75 ms"
    return f"Pageblock of pfn {pfns}, {row['migratetype']}: pages {', '.join(counts)}, at {times}."


def test_the_map_says_what_was_measured_and_the_slider_moves_it(shown: Browser) -> None:
    assert shown.text(READOUT) == told(0, 11)
    last = shown.run(CANVAS)
    slider = shown.find("#map-time")
    slider.send_keys("\ue012" * 4)  # to the left
    assert shown.text(READOUT) == told(0, 7)
    assert shown.text("#map-time-shown") == "1.75 ms of 2.75 ms (snapshot 8 of 12)"
    assert slider.get_attribute("aria-valuetext") == "1.75 ms of 2.75 ms (snapshot 8 of 12)"
    assert shown.run(CANVAS) != last
    slider.send_keys("\ue010")  # end
    assert shown.run(CANVAS) == last
    assert shown.run("document.querySelector('#map-readout').ariaLive") == "polite"


def test_the_table_below_the_map_counts_all_pages(shown: Browser) -> None:
    rows = map_rows(SHAPE, 1)
    last = rows[(rows["zone"] == "Normal") & (rows["time_ns"] == rows["time_ns"].max())]
    expected = [f"{last[last['migratetype'] == name]['nr_slab'].sum():,}" for name in MIGRATETYPES]
    slab = shown.heading("map-summary", "pages slab")
    rows_shown = "[...document.querySelectorAll('#map-summary tbody tr')]"
    assert shown.run(f"{rows_shown}.map((row) => row.children[{slab - 1}].textContent)") == expected


def test_arrows_move_over_the_map_enter_opens_a_pageblock_and_escape_closes_it(shown: Browser) -> None:
    shown.run("document.querySelector('#map-canvas').focus()")
    columns = shown.run("shownMap.grid.columns")
    shown.type(RIGHT * 2, DOWN)
    block = columns + 2
    assert shown.text(READOUT) == told(block, 11)
    shown.type(ENTER)
    assert shown.run("document.activeElement.id") == "map-pages"
    row = map_rows(SHAPE, 1).query("zone == 'Normal' and time_ns == 2_750_000").iloc[block]
    said = []
    for _ in row["pages"]:
        said.append(shown.text(READOUT))
        shown.type(RIGHT)
    first = row["start_pfn"]
    assert said == [
        f"Page frame {first + n:,}: {WORDS[state]}, at 2.75 ms of 2.75 ms." for n, state in enumerate(row["pages"])
    ]
    before = shown.run("document.querySelector('#map-pages').toDataURL()")
    shown.find("#map-time").send_keys("\ue011")  # home
    assert shown.run("document.querySelector('#map-pages').toDataURL()") != before
    shown.run("document.querySelector('#map-pages').focus()")
    shown.type(ESCAPE)
    assert not shown.find("#map-zoom").is_displayed()
    assert shown.run("document.activeElement.id") == "map-canvas"
    assert shown.text(READOUT) == told(block, 0)


def test_a_click_opens_the_pageblock_under_it(shown: Browser) -> None:
    from selenium.webdriver import ActionChains

    canvas = shown.find("#map-canvas")
    shown.run("arguments[0].scrollIntoView({ block: 'center' })", canvas)
    x, y = shown.run("shownMap.grid.corner(5)")
    box = canvas.size
    half = shown.run("shownMap.grid.size") / 2
    place = int(x + half - box["width"] / 2), int(y + half - box["height"] / 2)
    ActionChains(shown.driver).move_to_element_with_offset(canvas, *place).click().perform()
    assert shown.text("#map-zoom h4") == f"Pages of the pageblock that begins at pfn {(1 << 14) + 5 * 64:,}"
    shown.find("#map-zoom button").click()
    assert shown.text(READOUT) == told(5, 11)


def test_another_zone_can_be_shown(shown: Browser) -> None:
    shown.find("#map select").send_keys("zone DMA32")
    shown.wait("document.querySelector('#map-readout').textContent.startsWith('Pageblock of pfn 16 ')")
    assert shown.text(READOUT) == told(0, 11, "DMA32")


def test_a_zone_of_4_gib_is_drawn_in_time(chromium: Browser, tmp_path: Path) -> None:
    shape = Shape(nr_points=2, nr_snapshots=3, zones=(("Normal", 0, 2048),), pages_per_block=512)
    chromium.open(write_report(study_result(shape), tmp_path / "report.html"))
    took = chromium.run(
        "(() => { const start = performance.now(); shownMap.slider.value = 0; shownMap.moveTime(); "
        "return performance.now() - start; })()"
    )
    assert took < 500
    assert chromium.run("document.querySelector('#map-canvas').height") < 800
    assert chromium.complaints() == []


def test_counts_are_shown_where_single_pages_are_not_kept(chromium: Browser, tmp_path: Path) -> None:
    study = study_result()
    for result in study.results:
        result.tables["memory_map"]["pages"] = b""
    chromium.open(write_report(study, tmp_path / "report.html"))
    assert chromium.text(READOUT) == told(0, 11)
    chromium.run("document.querySelector('#map-canvas').focus()")
    chromium.type(ENTER)
    assert chromium.text(READOUT).endswith("Of this zone the file has no single pages.")
    assert chromium.complaints() == []
