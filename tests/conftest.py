"""What holds for all tests: how many examples Hypothesis tries, and that the suite runs in two processes.

Hypothesis has no deadlines, and tries the same examples every time, by its profiles:
    default    the default selection
    thorough   with the slow tests
    random     other examples each time: `--hypothesis-profile random`

The suite as a whole (no file is named) is shared by NR_PROCESSES, file by file: `-n 0` is one process. Files that are
named, and a debugger, have this process.
"""

import pytest
from hypothesis import HealthCheck, settings

NOT_SLOW = "not slow"  # the default selection, as pyproject.toml has it

_ALWAYS = {
    "deadline": None,  # a busy machine is no failure
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "database": None,
}
settings.register_profile("default", max_examples=25, derandomize=True, **_ALWAYS)
settings.register_profile("thorough", max_examples=100, derandomize=True, **_ALWAYS)
settings.register_profile("random", max_examples=1000, **_ALWAYS)


NR_PROCESSES = 2  # each compiles for itself what the other has not yet kept; more would compile more often


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the suite among processes, where pytest-xdist is there and nothing else is asked for."""
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not hasattr(config, "workerinput")
    if is_whole and config.getoption("numprocesses", 0) is None and not config.getoption("usepdb"):
        config.option.numprocesses = NR_PROCESSES
        config.option.dist = "loadfile"


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile by what is selected, unless one is asked for."""
    if config.getoption("--hypothesis-profile", default=None) is None:
        settings.load_profile("default" if config.getoption("-m") == NOT_SLOW else "thorough")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in red which goldens were not compared, as they were made with another numpy."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "tests/golden/" in report.nodeid]
    for reason in sorted({str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped}):
        terminalreporter.write_line(f"goldens NOT COMPARED: {reason}", red=True, bold=True)
