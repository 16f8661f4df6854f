"""The figures of a report: those in the result's folder, with their titles, what they show in words, and their data."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kmsim.input_file import read_input
from kmsim.plots.report_text import nr_bytes, readable
from kmsim.study.checksums import CHECKSUMS_FILE, check_file, sums_in
from kmsim.study.store import NotAResult, why_not

if TYPE_CHECKING:
    from kmsim.config.inquiry import FigureConfig
    from kmsim.study.results import StudyResult

PNG_BYTES = 3_600_000  # of all figures; a third more as base64
CSV_BYTES = 100_000  # of one figure's data
ALL_CSV_BYTES = 600_000
CAPTION_MAX = 300
PNG_READ_MAX, CSV_READ_MAX = 1 << 26, 1 << 28
AGAIN = "kmsim plot draws it again"
SHOWN_SHARE = 0.5  # of a figure's dots, of which 200 are drawn for an inch
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The figures of every run (kmsim.plots.figures).
TITLES = {
    "latency": "How long does an operation take?",
    "free_memory": "In blocks of which order is memory free?",
    "lock_waiting": "How long does each CPU wait for locks?",
}
KINDS = {
    "line": "A line chart",
    "heatmap": "A heatmap",
    "ecdf": "Cumulative distributions of latencies",
    "tail": "Tails of latency distributions",
    "pareto": "A scatter chart of what one response costs in another",
    "series": "A chart over simulated time",
    "fragmentation": "Free memory by block size over simulated time, and the unusable free space index",
    "memory_map": "A map of memory",
    "forest": "Differences from the baseline with their confidence intervals",
}


class Figures(NamedTuple):
    """What the page shows, and what it has no room for."""

    shown: list[dict[str, Any]]
    left_out: list[str]


def figures_of(study: StudyResult) -> Figures:
    """Every PNG in the result's folder of figures, in the config's order; others after them.

    Those that kmsim drew are verified: NotAResult names one that is damaged.
    """
    folder = None if study.path is None else study.path / "figures"
    files = [] if folder is None else sorted(folder.glob("*.png"))
    configs = {config.name: config for config in _configs(study)} if files else {}
    sums = {} if folder is None else _sums(folder)
    ours = {*TITLES, *configs, *(Path(name).stem for name in sums)}
    places = {name: place for place, name in enumerate(configs)}
    files.sort(key=lambda file: places.get(file.stem, len(places)))
    made = Figures([], [])
    png_left, csv_left = PNG_BYTES, ALL_CSV_BYTES
    for file in files:
        name = readable(file.stem, 80)
        png = _content(file, sums, ours, PNG_READ_MAX)
        if png is None:
            made.left_out.append(f"figure {name}: no regular file of at most {PNG_READ_MAX:,} bytes")
            continue
        if len(png) > png_left:
            made.left_out.append(f"figure {name}: no room for its {len(png):,} bytes; it is figures/{name}.png")
            continue
        if not png.startswith(_PNG_SIGNATURE):
            made.left_out.append(f"figure {name}: the file is not a PNG")
            continue
        png_left -= len(png)
        csv = _csv(_content(file.with_suffix(".csv"), sums, ours, CSV_READ_MAX), min(csv_left, CSV_BYTES))
        csv_left -= nr_bytes(csv)
        if not csv and file.with_suffix(".csv").is_file():
            made.left_out.append(f"data of figure {name}: no room; they are figures/{name}.csv")
        config = configs.get(file.stem)
        title = _title(file.stem, config)
        alt = _alt(title, config, study.question)
        made.shown.append({"name": name, "title": title, "alt": alt, "csv": csv, **_image(png)})
    drawn = {file.stem for file in files}
    made.left_out.extend(f"figure {name}: no run yields what it shows" for name in configs if name not in drawn)
    return made


def _configs(study: StudyResult) -> tuple[FigureConfig, ...]:
    """What the study's figures show, those too that it gets without naming them; of a plain run, none."""
    if study.result is not None:
        return study.figures_config
    from kmsim.plots.study_figures import figures_of

    return figures_of(study)


def _image(png: bytes) -> dict[str, Any]:
    """The file and the width at which it is shown: its letters are then as large as the page's."""
    width = int.from_bytes(png[16:20], "big")
    return {"png": b64encode(png).decode(), "width": round(SHOWN_SHARE * width)}


def _sums(folder: Path) -> dict[str, str]:
    """The checksums of the figures that kmsim drew, by which all of them are whole; none where it drew none."""
    name = CHECKSUMS_FILE
    if not (folder / name).exists():
        return {}
    try:
        sums = sums_in(folder)
        for name in sums:
            check_file(folder / name, name, sums)
    except (OSError, ValueError) as error:
        raise NotAResult(f"{folder / name}: must be as kmsim drew it; {why_not(error)}; {AGAIN}") from error
    return sums


def _content(file: Path, sums: Mapping[str, str], ours: set[str], most_bytes: int) -> bytes | None:
    """A file's content; None if it cannot be read. NotAResult where a figure of kmsim's has no checksum."""
    if file.stem in ours and file.exists() and file.name not in sums:
        raise NotAResult(f"{file}: must be a figure that kmsim drew; it is not named in {CHECKSUMS_FILE}; {AGAIN}")
    try:
        return read_input(file, most_bytes)
    except OSError:
        return None


def _csv(content: bytes | None, most_bytes: int) -> str:
    """The figure's data, if they are there and small."""
    if content is None or len(content) > most_bytes:
        return ""
    text = content.decode(errors="replace").replace("\r\n", "\n")
    shown = readable(text, len(text))
    return shown if nr_bytes(shown) <= most_bytes else ""


def _title(name: str, config: FigureConfig | None) -> str:
    given = None if config is None else config.title
    return readable(given or TITLES.get(name) or name.replace("_", " "), CAPTION_MAX)


def _alt(title: str, config: FigureConfig | None, question: str) -> str:
    """What the figure shows, for those who do not see it."""
    if config is None:
        return f"Figure: {title}"
    parts = {"": config.y, "coloured by ": config.colour, "over ": config.x, "a line for each ": config.hue}
    parts |= {"a panel for each ": config.panels, "of the comparison ": config.comparison}
    shows = ", ".join(f"{words}{readable(str(what), 80)}" for words, what in parts.items() if what)
    asked = f" It belongs to the question: {readable(question, CAPTION_MAX)}" if question else ""
    return f"{title}. {KINDS[config.kind]}{': ' if shows else ''}{shows}.{asked}"
