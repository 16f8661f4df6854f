"""Result folders of a study and of a run, of which a file was changed at random: each is shown, or refused in words.

Without its checksum, a change of any file that is read is found, and the file named; with it, what the file says now
is held against the models, and no command ends otherwise than with one of its exit codes.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from pandas.api.types import is_numeric_dtype

from kmsim.study.archive import IDENTITY_FILE, pack, unpack
from kmsim.study.checksums import CHECKSUMS_FILE, read_sums, seal
from kmsim.study.runner import run_study
from tests.commands import Shell
from tests.mutations import JUNK, mutated, mutated_text
from tests.studies import study
from tests.study.campaigns import run, small_design
from tests.taken import as_a_command

COMMANDS = (
    ("show", "there"),
    ("show", "there", "--json"),
    ("show", "there", "--point", "0"),
    ("compare", "whole", "there"),
)
SLOW_COMMANDS = (
    ("report", "there"),
    ("plot", "there", "--format", "png"),
    ("bundle", "there", "--out", "bundle"),
    ("compare", "whole", "there", "--out", "found"),
)
CODES = (0, 1, 2)
NUMBERS = (-1, 0, 1, 2, 7, 64, 127, 10**6, 2**31, 2**53, 1e-300, 1e29, float("nan"))


class Kept(NamedTuple):
    """The folders of a study and of a run."""

    study: Path
    run: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    here = tmp_path_factory.mktemp("whole")
    run(small_design(8, 16), here / "study")
    run_study(study(run={"batch": "5us"}), here / "run")
    return Kept(here / "study", here / "run")


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def changed(name: str, content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A file's content with something in it changed, and what."""
    if rng.random() < 0.2:
        return mutated_text(content, rng)
    if name.endswith(".json"):
        document, what = mutated(json.loads(content), rng)
        return json.dumps(document).encode(), what
    if name.endswith(".parquet"):
        return changed_table(content, rng)
    if name.endswith(".npy"):
        return changed_records(content, rng)
    if name.endswith(".zip"):
        return changed_archive(content, rng)
    return mutated_text(content, rng)


def changed_table(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A table with a cell, a column or a row changed."""
    table = pd.read_parquet(io.BytesIO(content))
    change = str(rng.choice(["cell", "cell", "cell", "drop", "type", "rows", "twice", "none"]))
    column = str(table.columns[int(rng.integers(len(table.columns)))])
    if change == "cell" and len(table):
        values = list(table[column])
        numeric = is_numeric_dtype(table[column])
        junk = NUMBERS[int(rng.integers(len(NUMBERS)))] if numeric else str(JUNK[int(rng.integers(len(JUNK)))])
        kind = table[column].dtype
        values[int(rng.integers(len(values)))] = junk.encode(errors="replace").decode() if not numeric else junk
        table[column] = pd.Series(values, dtype=float) if numeric else values
        if numeric and not table[column].isna().any():
            table[column] = table[column].astype(kind)
    elif change == "drop":
        table = table.drop(columns=column)
    elif change == "type":
        table[column] = 1
    elif change == "rows":
        table = table.sample(frac=float(rng.random()), random_state=int(rng.integers(99)))
    elif change == "twice":
        table = pd.concat([table, table.head(1)])
    elif change == "none":
        table = table.head(0)
    return table.to_parquet(index=False), f"{change} of {column}"


def changed_records(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """An array of records with a cell, a field or a row changed."""
    records = np.load(io.BytesIO(content))
    change = str(rng.choice(["cell", "cell", "cell", "drop", "type", "rows", "twice", "byte"]))
    field = str(rng.choice(records.dtype.names))
    if change == "cell":
        is_text = records.dtype[field].kind == "U"
        junk = str(JUNK[int(rng.integers(len(JUNK)))]) if is_text else NUMBERS[int(rng.integers(len(NUMBERS)))]
        with suppress(ValueError, OverflowError):  # NaN is no whole number
            records[field][int(rng.integers(len(records)))] = junk
    elif change == "drop":
        records = records[[name for name in records.dtype.names if name != field]].copy()
    elif change == "type":
        kinds = [(name, "<f4" if name == field else records.dtype[name]) for name in records.dtype.names]
        records = np.zeros(len(records), kinds)
    elif change in ("rows", "twice"):
        records = records[rng.integers(len(records), size=int(rng.integers(2 * len(records))))]
    buffer = io.BytesIO()
    np.save(buffer, records)
    changed_bytes = bytearray(buffer.getvalue())
    if change == "byte":
        changed_bytes[int(rng.integers(len(changed_bytes)))] ^= 1 << int(rng.integers(8))
    return bytes(changed_bytes), f"{change} of {field}"


def changed_archive(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A run's archive with a member changed, whose checksum is right again, as it is written."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        identity = file.comment.split()[2].decode()
    members = unpack(content, identity, "")
    about = json.loads(members.pop(IDENTITY_FILE))
    chosen = str(rng.choice(sorted(members)))
    members[chosen], what = changed(chosen, members[chosen], rng)
    return pack(members, identity, about["of"]), f"{chosen}: {what}"


def seal_again(folder: Path) -> None:
    """Make the folder's checksums right."""
    try:
        names = list(read_sums((folder / CHECKSUMS_FILE).read_bytes()))
    except ValueError:
        return  # they are what was changed
    seal(folder, [name for name in names if (folder / name).is_file()])


def wrong(kmsim: Shell, whole: Path, commands: tuple[tuple[str, ...], ...], seed: int, nr_changes: int) -> list[str]:
    """The changes, and the commands that ended otherwise than they may."""
    rng = np.random.default_rng(seed)
    shutil.copytree(whole, kmsim.folder / "whole")
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != "lock")
    found = []
    for _ in range(nr_changes):
        there = kmsim.folder / "there"
        for folder in (there, kmsim.folder / "bundle"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, there)
        name = files[int(rng.integers(len(files)))]
        content, what = changed(name.name, (there / name).read_bytes(), rng)
        (there / name).write_bytes(content)
        is_sealed = bool(rng.integers(4))
        if is_sealed:
            seal_again(there)
        for command in commands:
            with as_a_command():
                done = kmsim(*command)
            if done.code not in CODES or "Traceback" in done.err or (done.code == 2) != bool(done.err.strip()):
                sealed = "sealed" if is_sealed else "not sealed"
                found.append(f"{name} ({sealed}): {what}: {' '.join(command)}: {done.code}: {done.err[-600:]}")
    return found


of_kinds = pytest.mark.parametrize("kind", Kept._fields)


@pytest.mark.slow
@of_kinds
def test_a_result_changed_at_random_is_shown_or_refused(kind: str, kept: Kept, kmsim: Shell) -> None:
    assert wrong(kmsim, getattr(kept, kind), COMMANDS, seed=1, nr_changes=6) == []


@pytest.mark.slow
@of_kinds
def test_many_results_changed_at_random_are_shown_or_refused(kind: str, kept: Kept, kmsim: Shell) -> None:
    assert wrong(kmsim, getattr(kept, kind), COMMANDS, seed=2, nr_changes=60) == []


@pytest.mark.slow
@of_kinds
def test_reports_and_figures_of_results_changed_at_random_are_written_or_refused(
    kind: str, kept: Kept, kmsim: Shell
) -> None:
    assert wrong(kmsim, getattr(kept, kind), SLOW_COMMANDS, seed=3, nr_changes=12) == []


UNSEALED: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "an end": lambda content: content[:-1],
}


@of_kinds
@pytest.mark.parametrize("damage", UNSEALED)
def test_every_file_that_is_read_is_named_where_it_is_damaged(damage: str, kind: str, kept: Kept, kmsim: Shell) -> None:
    whole = getattr(kept, kind)
    for name in read_sums((whole / CHECKSUMS_FILE).read_bytes()):
        shutil.rmtree(kmsim.folder / "there", ignore_errors=True)
        shutil.copytree(whole, kmsim.folder / "there")
        path = kmsim.folder / "there" / name
        path.write_bytes(UNSEALED[damage](path.read_bytes()))
        done = kmsim("show", "there")
        assert done.code == 2, name
        assert path.name in done.err
