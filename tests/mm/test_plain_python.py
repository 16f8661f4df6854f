"""Without compilation the same code runs as plain Python, for a debugger and for coverage, and decides the same."""

import json

from kmsim.mm.mmzone import EXTFRAG, NEEDS_SLOW_PATH, NOPAGE
from tests.plain_commands import said_by

from . import scenario


def test_plain_python_decides_as_the_compiled_code() -> None:
    found = said_by("tests.mm.scenario")
    assert found["played"] == json.loads(json.dumps(scenario.play_all()))


def test_the_scenario_is_worth_comparing() -> None:
    events = scenario.play()["events"]
    assert isinstance(events, list)
    assert all(events[event] > 0 for event in (EXTFRAG, NOPAGE, NEEDS_SLOW_PATH))
