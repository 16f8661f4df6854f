"""`kmsim report`: a study's result as one HTML file that needs nothing else, opens from disk and is below 10 MB.

The page (`report/page.html`) is filled once: with its style, its scripts, and the data as JSON. Its policy
(Content-Security-Policy) allows exactly these, by their hashes, and images within the file; what came from
the study's files is in the JSON only. Each kind of data has its bytes, and what does not fit is said.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmsim.output import check_file, write_below, write_file
from kmsim.plots.report_figures import figures_of
from kmsim.plots.report_runs import shown_runs
from kmsim.plots.report_tables import nr_rows_left_out, study_tables
from kmsim.plots.report_text import encoded, fitted, readable
from kmsim.study.cautions import cautions
from kmsim.study.checksums import CHECKSUMS_FILE, NO_SUM, REPORT_FILE, sums_in, with_own_sum
from kmsim.study.study_folder import FAILURES, STUDY_FILE, StudyFolder

if TYPE_CHECKING:
    from kmsim.study.results import StudyResult

BYTES_MAX = 10_000_000
CONFIG_BYTES = 300_000
QUESTION_CHARACTERS = 3_000
WARNING_CHARACTERS = 300
TRACEBACKS_MAX = 20
TRACEBACK_BYTES = 10_000
SCRIPTS = ("element.js", "table.js", "page_states.js", "cell_grid.js", "memory_map.js", "report.js")


def write_report(study: StudyResult, path: Path | None = None) -> Path:
    """Write the page of a study, or of one run as a study, to `path`, a file or a pipe, or into the result's folder.

    The path that it was written to. OSError where it cannot be.
    """
    if path is not None:
        check_file(path)
    page = with_own_sum(report_html(study))
    assert len(page) < BYTES_MAX
    if path is not None:
        write_file(path, page)
        return path
    assert study.path is not None, "what is not on disk has no folder"
    write_below(study.path / REPORT_FILE, page)
    return study.path / REPORT_FILE


def report_html(study: StudyResult) -> str:
    """The page, whose last line says where its checksum is to stand (`kmsim.study.checksums`)."""
    parts = files("kmsim.plots") / "report"
    style = (parts / "report.css").read_text(encoding="utf-8")
    script = "\n".join((parts / name).read_text(encoding="utf-8") for name in SCRIPTS)
    filled = {
        "style": style,
        "style hash": _hash(style),
        "script": script,
        "script hash": _hash(script),
        "data": encoded(_data(study)),
        "own sum": NO_SUM,
    }
    page = (parts / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([a-z ]+)\}\}", lambda found: filled[found[1]], page)


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _data(study: StudyResult) -> dict[str, Any]:
    figures, runs, tables = figures_of(study), shown_runs(study), study_tables(study)
    tracebacks, more = _tracebacks(study)
    left_out = [
        f"{nr_rows_left_out(table):,} of {table['total']:,} rows of {name}; all are in the result's folder"
        for name, table in tables.items()
        if nr_rows_left_out(table)
    ]
    config = fitted(study.config_yaml, CONFIG_BYTES)
    if config != readable(study.config_yaml, len(study.config_yaml)):
        left_out.append("the end of the config; it is whole in the result's folder")
    file = _config_file(study)
    return {
        "name": readable(study.name) or "a study without a name",
        "question": readable(study.question, QUESTION_CHARACTERS),
        "facts": _facts(study),
        "warnings": [readable(said, WARNING_CHARACTERS) for said in cautions(study)],
        "figures": figures.shown,
        "tables": tables,
        "shown": runs.shown,
        "tracebacks": tracebacks,
        "config": config,
        "config_file": file,
        "provenance": _provenance(study.provenance),
        "reproduce": "With the same versions the results are the same to the last bit, on any machine:",
        "commands": _commands(study, file),
        "left_out": [*left_out, *figures.left_out, *runs.left_out, *more],
        "footer": f"Written by kmsim {_version(study)}; this file loads nothing from anywhere.",
    }


def _facts(study: StudyResult) -> list[str]:
    """What was done, in a few words each."""
    runs = study.runs
    counts = {
        "point": runs["point"].nunique(),
        "dropped point": len(study.dropped),
        "run": len(runs),
        "failed run": int(runs["failed"].sum()),
        "run that could not go on": int((runs["stuck"] != "").sum()),
    }
    said = [_counted(number, noun) for noun, number in counts.items() if number or noun in ("point", "run")]
    operations = f"{int(runs['operations'].sum()):,} simulated operations"
    primary = [f"primary response: {readable(one.name, 80)}" for one in study.responses_config if one.primary]
    return [*said, operations, f"seed {study.seed}", *primary]


def _counted(number: int, noun: str) -> str:
    head, _, rest = noun.partition(" that ")
    plural = head if number == 1 else f"{head}s"
    return f"{number:,} {plural}{' that ' if rest else ''}{rest}"


def _config_file(study: StudyResult) -> str:
    """What the config is called in the result's folder."""
    is_study = study.path is not None and (study.path / STUDY_FILE).is_file()
    return STUDY_FILE if is_study else "config.yaml"


def _provenance(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every fact that was written down, what is within another by a dotted name."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += [(f"{readable(str(name), 80)} {inner}", text) for inner, text in _provenance(value)]
        elif isinstance(value, list | tuple):
            words = " ".join if name == "command" else "; ".join
            rows.append((_words(name), readable(words(map(str, value)), 1_000) or "none"))
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            rows.append((_words(name), readable(text, 1_000)))
    return rows


def _words(name: str) -> str:
    return readable(str(name), 80).replace("_", " ")


def _version(study: StudyResult) -> str:
    versions = study.provenance.get("versions")
    return readable(str(versions.get("kmsim", "")), 40) if isinstance(versions, dict) else ""


def _commands(study: StudyResult, file: str) -> list[str]:
    """What to type to get these results and this page again."""
    python = readable(str(study.provenance.get("python", "")), 40)
    return [
        f"# Python {python}",
        f"pip install kmsim=={_version(study)}",
        f"kmsim run {file} --out again",
        "kmsim report again",
    ]


def _tracebacks(study: StudyResult) -> tuple[list[dict[str, str]], list[str]]:
    """Why runs failed by a bug, and how many are left out."""
    names: list[str] = []
    if study.path is not None and (study.path / CHECKSUMS_FILE).exists():
        names = sorted(name for name in sums_in(study.path) if name.startswith(f"{FAILURES}/"))
    texts = {name: StudyFolder(study.path).text(name) for name in names[:TRACEBACKS_MAX] if study.path is not None}
    shown = [
        {"name": f"Traceback of {readable(Path(name).stem, 80)}", "text": fitted(text or "", TRACEBACK_BYTES)}
        for name, text in texts.items()
    ]
    left = len(names) - len(shown)
    return shown, [f"{left:,} tracebacks; they are in failures/"] if left else []
