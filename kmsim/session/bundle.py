"""A finished study as what a paper needs: a folder from which another person makes the same numbers again.

    README.md            what is here, how it was made and is made again, minutes and disk, how to cite
    METHODS.md           a paragraph for the paper, from the config: machine, prices, replications, statistics
    CITATION.cff         kmsim
    study.yaml           the config, and below inputs/ the files that it names
    seeds.csv            the seed of each run
    environment.txt      the exact versions of all packages, for pip; kmsim itself is the wheel beside it
    data/                runs, responses, estimates and comparisons as CSV; histograms and series as Parquet
    figures/             PDF, each with its data as CSV
    tables/              estimates and comparisons as CSV and LaTeX (booktabs), with intervals and the model's error
    checksums.json       of every file but itself (`study.checksums`)

The same results give the same bytes, but for the minutes in README. Leaves out the runs' own files: `kmsim bundle
--check` simulates them again.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from kmsim.input_file import read_input
from kmsim.output import FOLDER, OutputError, check_folder, partial_of
from kmsim.plots.latex_tables import latex_table
from kmsim.plots.study_figures import draw_study
from kmsim.session.console import stdout
from kmsim.study import checksums
from kmsim.study.bundle_text import citation, methods, readme
from kmsim.study.environment import pins, wheel, wheel_name
from kmsim.study.results import StudyResult, load_study
from kmsim.study.store import NotAResult, check_outside

DATA = ("runs", "responses", "estimates", "comparisons")
INPUT_BYTES_MAX = 1 << 30
DIFFERING_MAX = 20  # numbers that are named
SAID_MAX = 400  # characters of what pip or a run says


def bundle_folder(folder: Path, out: Path | None) -> None:
    """Bundle a result into a folder that is not there yet. NotAResult, OutputError."""
    place = out or folder.with_name(f"{folder.resolve().name}-bundle")
    check_folder(place)
    check_outside(place)
    if place.exists():
        raise OutputError(place, "it is there already", "a folder that is not there yet")
    study = load_study(folder)
    partial = partial_of(place)
    try:
        partial.mkdir(parents=True)
        write_bundle(study, partial, shlex.join(["kmsim", "bundle", str(folder), "--out", str(place)]))
        partial.rename(place)
    except OSError as error:
        raise OutputError(place, error.strerror or str(error), FOLDER) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    stdout.print(f"wrote {place}", markup=False, soft_wrap=True)


def check_bundle(folder: Path) -> bool:
    """Simulate a bundle again in an empty environment, with the kmsim that it holds; are all numbers equal?

    What differs is printed. NotAResult where the bundle is damaged, or pip or the run fails.
    """
    _verify(folder)
    with tempfile.TemporaryDirectory(prefix="kmsim-bundle-") as name:
        place = Path(name)
        program = _install(folder.resolve(), place / "environment")
        stdout.print("installed; simulating", markup=False)
        _call([program, "run", str(folder.resolve() / "study.yaml"), "--out", str(place / "again"), "--quiet"], folder)
        _call([program, "bundle", str(place / "again"), "--out", str(place / "bundle")], folder)
        found = [line for name in DATA for line in differing(folder / "data", place / "bundle" / "data", name)]
    for line in found[:DIFFERING_MAX]:
        stdout.print(line, markup=False, soft_wrap=True)
    if len(found) > DIFFERING_MAX:
        stdout.print(f"and {len(found) - DIFFERING_MAX:,} more")
    stdout.print(f"{len(found):,} numbers differ" if found else "every number is the same")
    return not found


def _verify(folder: Path) -> None:
    """NotAResult unless every file of the bundle is what was written."""
    try:
        sums = checksums.sums_in(folder)
    except (OSError, ValueError) as error:
        raise NotAResult(f"{folder}: must be a bundle, as `kmsim bundle` writes them; {error}") from error
    for name in sorted({*sums, "study.yaml", "environment.txt"}):
        try:
            checksums.check_file(folder / name, name, sums)
        except (OSError, ValueError) as error:
            raise NotAResult(f"{folder / name}: must be as it was written; {error}") from error


def _install(folder: Path, environment: Path) -> str:
    """Make an environment with what the bundle names, and the kmsim that it holds; the path of its program."""
    wheels = [str(path) for path in sorted(folder.glob("*.whl"))]
    _call([sys.executable, "-m", "venv", str(environment)], folder)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _call([*pip, "-r", str(folder / "environment.txt"), *wheels], folder)
    return str(environment / "bin" / "kmsim")


def _call(command: list[str], folder: Path) -> None:
    """Run a program without this process's Python paths. NotAResult with the end of what it says where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-SAID_MAX:]
        what = " ".join(Path(word).name for word in command[:3])
        raise NotAResult(
            f"{folder}: must run in an environment of its own; {what} ended with {done.returncode}: {said}"
        )


def differing(before: Path, after: Path, name: str) -> Iterator[str]:
    """The cells in which two CSV files differ, one line each."""
    of_bundle, again = (_cells(folder / f"{name}.csv") for folder in (before, after))
    if list(of_bundle.columns) != list(again.columns) or len(of_bundle) != len(again):
        shapes = [f"{len(table):,} rows of {len(table.columns)} columns" for table in (of_bundle, again)]
        yield f"{name}: {shapes[0]} in the bundle, {shapes[1]} now"
        return
    keys = [key for key in ("run", "point", "comparison", "level", "response") if key in of_bundle.columns]
    for column in of_bundle.columns:
        for row in (of_bundle[column] != again[column]).to_numpy().nonzero()[0]:
            at = ", ".join(f"{key} {of_bundle[key][row]}" for key in keys)
            yield f"{name}: {at}: {column} is {again[column][row]}, in the bundle {of_bundle[column][row]}"


def _cells(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def write_bundle(study: StudyResult, folder: Path, command: str) -> None:
    """Write everything into an empty folder. NotAResult where a file that the config names is gone or has changed."""
    config = _config(study, folder)
    (folder / "study.yaml").write_text(config, encoding="utf-8")
    (folder / "METHODS.md").write_text(methods(study), encoding="utf-8")
    (folder / "CITATION.cff").write_text(citation(study.provenance["versions"]["kmsim"]), encoding="utf-8")
    study.runs[["run", "point", "replication", "seed"]].to_csv(folder / "seeds.csv", index=False, lineterminator="\n")
    (folder / "environment.txt").write_text("".join(f"{pin}\n" for pin in pins()), encoding="utf-8")
    (folder / wheel_name()).write_bytes(wheel())
    _write_tables(study, folder)
    draw_study(study, folder / "figures", ("pdf",))
    (folder / "README.md").write_text(readme(study, command, _size(folder)), encoding="utf-8")
    checksums.seal(folder, files_in(folder))


def files_in(folder: Path) -> list[str]:
    """The names of the files of a bundle, without that of the checksums."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != checksums.CHECKSUMS_FILE)


def _config(study: StudyResult, folder: Path) -> str:
    """The study's file, in which the files that it names lie beside it; these are copied."""
    if not study.files:
        return study.config_yaml
    inputs = folder / "inputs"
    inputs.mkdir()
    text = study.config_yaml
    for number, name in enumerate(sorted(study.files, key=lambda name: (-len(name), name))):
        try:
            content = read_input(Path(name), INPUT_BYTES_MAX)
        except OSError as error:
            raise NotAResult(
                f"{name}: must be the file that the study's config names; {error.strerror or error}"
            ) from error
        if hashlib.sha256(content).hexdigest() != study.files[name]:
            raise NotAResult(f"{name}: must be the file that the study was made with; it has changed since")
        place = f"inputs/{number}.txt"
        (folder / place).write_bytes(content)
        text = text.replace(name, place)  # an absolute path; a longer one that begins alike has come before
    return text


def _write_tables(study: StudyResult, folder: Path) -> None:
    for name in ("data", "tables"):
        (folder / name).mkdir()
    for name in DATA:
        csv(getattr(study, name), folder / "data" / f"{name}.csv")
    study.histograms().to_parquet(folder / "data" / "histograms.parquet", index=False)
    study.series().to_parquet(folder / "data" / "series.parquet", index=False)
    for name in ("estimates", "comparisons"):
        table = getattr(study, name)
        csv(table, folder / "tables" / f"{name}.csv")
        (folder / "tables" / f"{name}.tex").write_text(latex_table(study, name), encoding="utf-8")


def csv(table: pd.DataFrame, path: Path) -> None:
    """A table as text that reads back as the same numbers."""
    table.to_csv(path, index=False, lineterminator="\n")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
