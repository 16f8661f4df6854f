"""No index is below 0 in what is compiled: golden studies in plain Python, with arrays that look at it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAST = "pages"
SLOW = (
    "addresses", "aged", "interrupts", "large_pages", "lists", "objects", "pcp_sizes", "phases", "timed_frees", "users",
)  # fmt: skip


@pytest.mark.parametrize("name", [FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_no_index_is_below_0(name: str) -> None:
    command = [sys.executable, "-m", "tests.indices", name]
    plain = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 0, "nothing was done"


@pytest.mark.slow
def test_an_index_below_0_is_found() -> None:
    program = "import numpy as np; from tests.indices import Indexed; np.zeros(3).view(Indexed)[-1]"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "AssertionError: index -1" in done.stderr
