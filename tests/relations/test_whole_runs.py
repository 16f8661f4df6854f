"""Random valid configs go all the way by commands: checked, run, validated meanwhile, shown, compared and reported.

No config of a machine of up to 16 GiB takes much memory or time; what it comes to is one of the exit codes that the
commands have for it.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

import kmsim as package
from kmsim.config.written import yaml_text
from tests.commands import Done, Shell
from tests.relations.random_configs import FAMILIES, Mapping, random_config
from tests.taken import COMMAND_BYTES, COMMAND_S, TIMES_SLOWER, as_a_command, kmsim_measured

SLOW = pytest.mark.slow
MANY = [(family, seed) for family, nr in zip(FAMILIES, (18, 10), strict=True) for seed in range(100, 100 + nr)]
CASES = [("pages", 0), ("everything", 0), *(pytest.param(*case, marks=SLOW) for case in MANY)]
STUDIES = [("everything", 1), *(pytest.param(*case, marks=SLOW) for case in MANY[::5])]
DONE, STUCK, SOME_FAILED = 0, 3, 4
SIZES = {"64MiB": 7, "300MiB": 20, "2GiB": 100, "16GiB": 400}  # of memory, and how often a machine of it is validated


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def whole_config(family: str, seed: int, *sizes: str) -> Mapping:
    """A random config whose machine has one of these sizes and is validated now and then."""
    rng = random.Random(f"whole {family} {seed}")
    config = random_config(family, seed)
    size = rng.choice(sizes or tuple(SIZES))
    config["machine"]["memory"] = size
    config["run"] = config.get("run", {}) | {"validate_every": rng.randint(SIZES[size] // 7, SIZES[size])}
    return config


def bounded(kmsim: Shell, *arguments: str) -> Done:
    """A command that is held to its bounds."""
    with as_a_command():
        return kmsim(*arguments)


@cache
def compiled(family: str) -> None:
    """What is asked of the others takes no time to compile."""
    package.run(whole_config(family, 0, "64MiB"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "seed"), CASES)
def test_a_random_config_is_run_shown_compared_and_reported(family: str, seed: int, kmsim: Shell) -> None:
    file = kmsim.write("config.yaml", yaml_text(whole_config(family, seed)))
    compiled(family)
    assert bounded(kmsim, "check", file).code == DONE
    ran = bounded(kmsim, "run", file, "--out", "there")
    assert ran.code in (DONE, STUCK), ran.err
    for arguments in (("show", "there"), ("show", "there", "--json"), ("compare", "there", "there")):
        done = bounded(kmsim, *arguments)
        assert (done.code, done.err) == (DONE, ""), arguments
    assert bounded(kmsim, "report", "there").code == DONE
    result = package.load(kmsim.folder / "there")
    again = package.run(kmsim.folder / "there" / "config.yaml")
    assert all(table.equals(result.tables[name]) for name, table in again.tables.items()), "written, it is another"


@pytest.mark.slow
@pytest.mark.parametrize(("family", "seed"), STUDIES)
def test_a_study_of_a_random_config_is_run_and_shown_and_goes_on(family: str, seed: int, kmsim: Shell) -> None:
    config = whole_config(family, seed, "64MiB", "300MiB")
    del config["machine"]["memory"]
    axes = [{"name": "memory", "key": "machine.memory", "values": ["64MiB", "300MiB"]}]
    asked = {"sweep": {"axes": axes}, "replications": 2, "responses": ["latency_mean", "failed_share"]}
    file = kmsim.write("study.yaml", yaml_text(config | asked))
    compiled(family)
    ran = bounded(kmsim, "run", file, "--out", "there", "--jobs", "1")
    assert ran.code in (DONE, SOME_FAILED), ran.err
    assert bounded(kmsim, "show", "there").code == DONE
    assert bounded(kmsim, "run", file, "--out", "there", "--jobs", "1").code == ran.code


@pytest.mark.slow
@pytest.mark.parametrize("family", [pytest.param("pages", marks=SLOW), "everything"])
def test_a_machine_of_16_gib_takes_less_than_a_gibibyte(family: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml_text(whole_config(family, 3, "16GiB")))
    compiled(family)
    done = kmsim_measured(tmp_path, "run", "config.yaml", "--quiet", "--out", "there")
    assert done.code in (DONE, STUCK), done.err
    assert done.peak_bytes < COMMAND_BYTES
    assert done.cpu_s < TIMES_SLOWER * COMMAND_S
    print(f"\n16 GiB, {family}: {done.cpu_s:.1f} s of CPU time, {done.peak_bytes >> 20} MiB")
