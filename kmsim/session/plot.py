"""What `kmsim plot` does: the figures of a result, drawn again or anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kmsim.session.console import stdout

FORMATS = ("png", "pdf")


def plot_folder(folder: Path, names: Sequence[str], formats: str, out: Path | None) -> None:
    """Draw the figures of a run or of a study, or those that are named; NotAResult says what cannot be."""
    from kmsim.output import check_folder, our_folder
    from kmsim.plots.figures import NAMES, draw_all
    from kmsim.plots.study_figures import draw_study, figures_of
    from kmsim.study.checksums import seal_more
    from kmsim.study.results import load_study
    from kmsim.study.store import NotAResult, check_outside

    if out is not None:
        check_folder(out)
        check_outside(out, "figures")
    study = load_study(folder)
    there = NAMES if study.result is not None else tuple(config.name for config in figures_of(study))
    for name in names:
        if name not in there:
            raise NotAResult(f"--figure {name[:80]}: must be one of {', '.join(there)}")
    wanted, suffixes = [name for name in there if name in names or not names], _formats(formats)
    into = out or folder / "figures"
    try:
        if out is None:
            our_folder(into)
        if study.result is not None:
            written = draw_all(study.result, into, suffixes, wanted)
        else:
            written = draw_study(study, into, suffixes, wanted)
        if out is None:
            seal_more(into, written)
    except OSError as error:
        raise NotAResult(f"{into}: must be a folder that can be written; {error.strerror or error}") from error
    for path in written:
        stdout.print(str(path), markup=False, soft_wrap=True)


def _formats(text: str) -> tuple[str, ...]:
    from kmsim.study.store import NotAResult

    found = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",")))
    if not set(found) <= set(FORMATS):
        raise NotAResult(f"--format {text[:80]}: must be {' or '.join(FORMATS)}, or both with a comma between them")
    return found
