"""The config door takes any text, mapping and override: it resolves to a config, or a ConfigError says why not.

Changed at random are the files under `valid`, those that are shipped, and of some the keys that `--set` names. What
is still valid goes on as in `kmsim check`, and, where it is one run, means the same when it is written and read back.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.config import ConfigError, Design, design_of, dump, load_design, loads
from kmsim.config.door import base_of_file
from kmsim.config.shipped import configs_folder
from kmsim.session.check import checked
from tests.mutations import JUNK, TEXT_JUNK, mutated, mutated_text
from tests.taken import as_a_command

VALID = Path(__file__).parent / "valid"
MEMORY_MAX = 16 << 30  # of a machine whose state may be built here
POINTS_MAX = 100  # of a design whose points may be looked at here
RUNS_MAX = 2_000  # of a design here: a level takes milliseconds, and there may be 100,000 of an axis
KEY = re.compile(r"^[ {-]*([a-z_]+):", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copies of all files, beside what they name, with the shipped ones made studies."""
    here = tmp_path_factory.mktemp("fuzz") / "valid"
    shutil.copytree(VALID, here)
    for path in (*configs_folder().glob("bench/*.yaml"), *configs_folder().glob("workloads/*.yaml")):
        machine = "machine: x86-laptop\n" if path.parent.name == "workloads" else ""
        (here / f"shipped-{path.name}").write_text(machine + path.read_text())
    shutil.copytree(VALID.parent / "invalid" / "included", here.parent / "invalid" / "included")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kmsim.config.design.RUNS_MAX", RUNS_MAX)
        yield here


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.yaml") if path.parent.name != "included")


def words_of(folder: Path) -> tuple[str, ...]:
    """Junk, and as often what configs are made of: a change is then more often one of meaning than of form."""
    found = {word for path in files(folder) for word in re.findall(r"[\w.-]+:?", path.read_text(encoding="utf-8"))}
    return TEXT_JUNK + tuple(sorted(found))


def looked_at(load: Callable[[], Design]) -> str:
    """What comes of a config: why it is refused, or nothing; raises what no config may raise."""
    try:
        with as_a_command():
            design = load()
            if len(design.points) > POINTS_MAX:
                return ""
            studies = [design.study_of(point) for point in design.points]
            if all(study.machine.memory <= MEMORY_MAX for study in studies):
                assert all(line.isprintable() for line in checked(design, quiet=True).lines())
    except ConfigError as error:
        return str(error)
    if design.is_single:
        assert loads(dump(studies[0])) == studies[0], "read back it is another"
    return ""


def is_said_well(said: str) -> bool:
    """A line for each problem, which a terminal shows as it is."""
    return all(line.isprintable() and len(line) < 2_000 for line in said.splitlines())


def wrong(cases: Iterator[tuple[str, Callable[[], Design]]]) -> list[str]:
    """The cases of which something else than a ConfigError came."""
    found = []
    for what, load in cases:
        try:
            said = looked_at(load)
            assert is_said_well(said), said
        except Exception as error:
            found.append(f"{what}: {type(error).__name__}: {error}")
    return found


def of_texts(folder: Path, seed: int, nr_each: int) -> Iterator[tuple[str, Callable[[], Design]]]:
    """The files, their texts changed."""
    rng, words = np.random.default_rng(seed), words_of(folder)
    for path in files(folder):
        changed = path.with_name("changed.yaml")
        text = path.read_bytes()
        for _ in range(nr_each):
            content, what = mutated_text(text, rng, words)
            changed.write_bytes(content)
            yield f"{path.name}: {what}:\n{content!r}", lambda changed=changed: load_design(changed)
        changed.unlink()


def of_mappings(folder: Path, seed: int, nr_each: int) -> Iterator[tuple[str, Callable[[], Design]]]:
    """The same as mappings that Python hands in, one value of each changed."""
    rng = np.random.default_rng(seed)
    for path in files(folder):
        base = base_of_file(path)
        config = {**base.node.python(), **base.asked.python()}
        for _ in range(nr_each):
            content, what = mutated(config, rng)
            yield f"{path.name}: {what}", lambda content=content: design_of(content)


def of_overrides(folder: Path, seed: int, nr_each: int) -> Iterator[tuple[str, Callable[[], Design]]]:
    """The files with a key of any of them, or one that nobody has, set to anything."""
    rng, words = np.random.default_rng(seed), words_of(folder)
    keys = [key for path in files(folder) for key in keys_below(base_of_file(path).node.python())]
    for path in files(folder):
        for _ in range(nr_each):
            key = keys[int(rng.integers(len(keys)))]
            value = words[int(rng.integers(len(words)))] if rng.integers(2) else JUNK[int(rng.integers(len(JUNK)))]
            text = b""
            if rng.integers(2):
                text, _ = mutated_text(f"{key}={value}".encode(errors="surrogatepass"), rng, words)
            sets = [text.decode(errors="surrogateescape") if text else f"{key}={value}"]
            yield f"{path.name}: --set {sets!r}", lambda path=path, sets=sets: load_design(path, sets)


def keys_below(value: Any, key: str = "") -> Iterator[str]:
    """The names of all keys, as `--set` has them."""
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from keys_below(entry, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from keys_below(item, f"{key}[{n}]")
    if key:
        yield key


DOORS = (of_texts, of_mappings, of_overrides)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_config_changed_at_random_is_checked_or_refused(door: Any, folder: Path) -> None:
    assert wrong(door(folder, seed=1, nr_each=1)) == []


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_many_configs_changed_at_random_are_checked_or_refused(door: Any, folder: Path) -> None:
    assert wrong(door(folder, seed=2, nr_each=15)) == []
