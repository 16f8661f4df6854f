"""The short cuts of the event core are taken, and in stepwise mode they are not; that both come to the same bits,
`tests/sim/test_modes.py` says."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_most_operations_follow_at_once_and_in_stepwise_mode_none_does() -> None:
    command = [sys.executable, "-m", "tests.sim.core.short_cuts"]
    plain = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True)
    default, stepwise = ([int(number) for number in line.split()] for line in done.stdout.splitlines())
    nr_operations, nr_followed, nr_went_on, nr_at_hand, nr_in_one_piece, nr_had = default
    assert nr_followed > 0.9 * nr_operations
    assert nr_went_on > 0.4 * nr_operations  # half of the requests are for order 4, which takes the zone's lock
    assert nr_at_hand > 0.1 * nr_operations
    assert nr_in_one_piece > 0.2 * nr_operations  # frees, and what is not at hand
    assert nr_had == 0
    assert stepwise == [nr_operations, 0, 0, 0, 0, nr_at_hand + nr_in_one_piece]
