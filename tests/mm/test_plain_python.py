"""Without compilation the same code runs as plain Python, for a debugger and for coverage, and decides the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

from kmsim.mm.mmzone import EXTFRAG, NEEDS_SLOW_PATH, NOPAGE

from . import scenario

ROOT = Path(__file__).parents[2]


def test_plain_python_decides_as_the_compiled_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mm.scenario"],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["played"] == json.loads(json.dumps(scenario.play_all()))


def test_the_scenario_is_worth_comparing() -> None:
    events = scenario.play()["events"]
    assert isinstance(events, list)
    assert all(events[event] > 0 for event in (EXTFRAG, NOPAGE, NEEDS_SLOW_PATH))
