"""`--regen` stores what the studies come to as the new goldens; and what is said where they cannot be compared."""

import pytest

from tests.golden.outcome import NAMES, numpy_version, stored


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option, which `pytest tests/golden --regen` knows."""
    parser.addoption("--regen", action="store_true", help="store what tests/golden/studies come to as new goldens")


@pytest.fixture
def regen(request: pytest.FixtureRequest) -> bool:
    """Are the goldens to be stored anew?"""
    return bool(request.config.getoption("--regen", default=False))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in red that goldens were made with another numpy, and so were not compared."""
    versions = {str(stored(name)["numpy"]) for name in NAMES} - {numpy_version()}
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "tests/golden/" in report.nodeid]
    if versions and skipped:
        made = " and ".join(sorted(versions))
        text = f"{len(skipped)} goldens NOT COMPARED: they were made with numpy {made}, this is {numpy_version()}"
        terminalreporter.write_line(text, red=True, bold=True)
