"""A browser, and the page of a made-up study in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmsim.plots.figures import draw_all
from kmsim.plots.report import write_report
from kmsim.study.checksums import seal, seal_more
from tests.plots.browser import Browser, browser
from tests.plots.report_studies import one_result, study_result


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("result")
    seal_more(folder / "figures", draw_all(one_result(), folder / "figures"))
    (folder / "failures").mkdir()
    (folder / "failures" / "abc.txt").write_text("AssertionError\n")
    seal(folder, ["failures/abc.txt"])
    return write_report(study_result(path=folder), folder / "report.html")


@pytest.fixture
def shown(chromium: Browser, page: Path) -> Iterator[Browser]:
    """The page; at the end, nothing was complained about and nothing was loaded from elsewhere."""
    chromium.open(page)
    yield chromium
    assert chromium.complaints() == []
    assert chromium.run("performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:'))") == []
