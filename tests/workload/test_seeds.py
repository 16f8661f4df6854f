"""Streams of random numbers by name: golden numbers, so that no release changes a published run by accident."""

import os
import subprocess
import sys

import pytest

from kmsim.workload.seeds import stream

GOLDEN = {
    (1, "thread/churn/cpu/0"): [642065448, 3839853480, 902100838, 2224372423],
    (1, "thread/churn/cpu/1"): [2268825118, 3071925441, 2288520405, 2894970298],
    (2, "thread/churn/cpu/0"): [2192643163, 4280194134, 2426590622, 2067905941],
    (1, "state/aged"): [1860634492, 2327677525, 3694170842, 1215832801],
    (2**64, "ü"): [4205811066, 4255906297, 1677645657, 4187587639],
}


def numbers(seed: int, name: str) -> list[int]:
    return [int(number) for number in stream(seed, name).integers(0, 1 << 32, 4)]


@pytest.mark.parametrize(("seed", "name"), GOLDEN)
def test_a_stream_is_the_same_for_ever(seed: int, name: str) -> None:
    assert numbers(seed, name) == GOLDEN[seed, name]


def test_streams_of_other_names_and_seeds_are_others() -> None:
    found = {tuple(numbers(seed, name)) for seed in range(20) for name in ("a", "b", "a/b", "")}
    assert len(found) == 80


def test_a_stream_starts_anew_each_time_it_is_asked_for() -> None:
    assert numbers(3, "a") == numbers(3, "a")


def test_a_stream_does_not_depend_on_the_hashes_of_a_process() -> None:
    code = "from kmsim.workload.seeds import stream; print(int(stream(1, 'state/aged').integers(0, 1 << 32)))"
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
        assert [int(done.stdout)] == GOLDEN[1, "state/aged"][:1]
