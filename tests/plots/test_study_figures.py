"""Figures of a study: what is written, what is in it, and that it is the same each time."""

import csv
import re
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.config.inquiry import FigureConfig, FiguresConfig
from kmsim.config.product import Axis
from kmsim.plots.drawn import Drawn
from kmsim.plots.study_figures import DRAW, default_figures, draw_study, figure_of, figures_of
from kmsim.plots.style import PAPER, WIDTH_INCHES, styled
from tests.plots.studies import MadeUpStudy, comparison, made_up_study, order_axis, page_size_axis, workload_axis

SMALL = {"workload": ["net-rx"], "max_page_order": ["6", "8"]}


def config(kind: str, **keys: Any) -> FigureConfig:
    return FigureConfig.model_validate({"kind": kind, **keys})


def drawn(result: Any, of: FigureConfig) -> Drawn:
    with styled(PAPER):
        return DRAW[of.kind](result, of)


def texts(figure: Any) -> list[str]:
    """Everything that is written in a figure."""
    found = [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        found += [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]
    for axes in figure.axes:
        found += [axes.get_xlabel(), axes.get_ylabel(), axes.get_title(), *(text.get_text() for text in axes.texts)]
        found += [text.get_text() for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    return found


@pytest.fixture(scope="module")
def study() -> MadeUpStudy:
    return made_up_study(replications=6)


FIGURES = [
    config("line", y="latency_p999"),
    config("line", name="line_column", size="column", where={"workload": "net-rx"}),
    config("heatmap", colour="memory_held"),
    config("ecdf", hue="page_size", where=SMALL),
    config("tail", hue="page_size", where=SMALL, of="free"),
    config("pareto", x="latency_p999", y="unusable_index"),
    config("series", series="free_bytes"),
    config("fragmentation"),
    config("fragmentation", name="fragmentation_column", size="column", panels="max_page_order"),
    config("memory_map"),
    config("forest", where=SMALL),
    config("forest", name="forest_one", y="latency_mean"),
]


@pytest.mark.parametrize("of", FIGURES, ids=lambda of: of.name)
class TestEachKind:
    def test_axes_have_names_and_units_and_n_is_told(self, study: MadeUpStudy, of: FigureConfig) -> None:
        figure = looked_at(study, of).figure
        said = " ".join(" ".join(texts(figure)).split())
        assert re.search(r"n = \d", said)
        units = {
            "line": r"(percentile of|Mean) latency \((ns|µs)\)",
            "heatmap": r"Memory taken since the start, at the end \(GiB\)",
            "ecdf": r"latency \((ns|µs)\)",
            "tail": r"latency \((ns|µs)\)",
            "pareto": r"percentile of latency \(µs\)",
            "series": r"free memory \(MiB\)",
            "fragmentation": r"free memory \((M|G)iB\)",
            "memory_map": r"address \(MiB\)",
            "forest": r"difference \((%|ns)\)",
        }
        assert re.search(units[of.kind], said)
        assert figure.texts[0].get_text(), "a title"

    def test_it_ends_in_one_sentence_with_the_answer(self, study: MadeUpStudy, of: FigureConfig) -> None:
        (note,) = [text.get_text() for text in looked_at(study, of).figure.texts if text.get_label() == "notes"]
        said = " ".join(note.split())
        answer = {
            "line": r"(The lowest(,| is) .* (the|and the) highest,? .*)",
            "heatmap": r"The lowest(,| is) .* (the|and the) highest,? .*",
            "ecdf": r"Of the times that half of them exceed, the lowest(,| is) .* (the|and the) highest,? .*",
            "tail": r"Of the times that one in 100 exceeds, the lowest(,| is) .* (the|and the) highest,? .*",
            "pareto": r"By their means, \d+ of \d+ are beaten by none in both: .*",
            "series": r"At the end, the lowest(,| is) .* (the|and the) highest,? .*",
            "fragmentation": r"Of free memory at the end, blocks smaller than .*",
            "memory_map": r"Of the pages, .* \(at 0 ns\).* are free",
            "forest": r"\d+ of \d+ differences are shown, \d+ of them of unknown error; the largest is .*",
        }
        assert re.search(f" {answer[of.kind]}\\.$", said), said

    def test_nothing_is_outside_of_the_paper_or_covers_another(self, study: MadeUpStudy, of: FigureConfig) -> None:
        figure = looked_at(study, of).figure
        assert figure.get_figwidth() == pytest.approx(WIDTH_INCHES["page" if figure.get_figwidth() > 4 else "column"])
        assert_inside(figure)
        assert_apart(figure)

    @pytest.mark.slow
    def test_files_are_the_same_each_time_and_the_csv_is_what_is_drawn(
        self, study: MadeUpStudy, of: FigureConfig, tmp_path: Path
    ) -> None:
        first = draw_study(replace_figures(study, of), tmp_path / "a")
        second = draw_study(replace_figures(study, of), tmp_path / "b")
        assert [file.name for file in first] == [f"{of.name}.{suffix}" for suffix in ("png", "pdf", "csv")]
        assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
        assert sorted(tmp_path.glob("*/.*")) == []
        with first[2].open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        data = looked_at(study, of).data
        assert len(rows) == len(data) > 0
        for name in data.columns:
            column = [row[name] for row in rows]
            if pd.api.types.is_float_dtype(data[name]):
                read = [float(text) if text else np.nan for text in column]
                np.testing.assert_array_equal(read, data[name].to_numpy())


LOOKED_AT: dict[str, Drawn] = {}


def looked_at(study: MadeUpStudy, of: FigureConfig) -> Drawn:
    """A figure that several tests look at, drawn once."""
    if of.name not in LOOKED_AT:
        LOOKED_AT[of.name] = drawn(study, of)
    return LOOKED_AT[of.name]


def marks(figure: Any) -> list[tuple[float, float]]:
    """Where the lines and marks of the first panel are."""
    return [(float(x), float(y)) for drawn_line in figure.axes[0].lines for x, y in drawn_line.get_xydata()]


def test_the_data_are_the_marks(study: MadeUpStudy) -> None:
    found = looked_at(study, FIGURES[1])
    rows = found.data[["x", "mean"]].to_numpy().tolist()
    assert {(x, y) for x, y in rows} <= set(marks(found.figure))
    found = looked_at(study, FIGURES[5])
    rows = found.data[["x", "y"]].to_numpy().tolist()
    assert {(x, y) for x, y in rows} <= set(marks(found.figure))
    found = looked_at(study, FIGURES[2])
    drawn_cells = np.ma.concatenate([axes.collections[0].get_array().ravel() for axes in found.figure.axes[:2]])
    assert sorted(drawn_cells.compressed().tolist()) == sorted(found.data["mean"].tolist())


def replace_figures(study: MadeUpStudy, *figures: FigureConfig) -> MadeUpStudy:
    return replace(study, inquiry=study.inquiry.model_copy(update={"figures": figures}))


def assert_inside(figure: Any) -> None:
    """Nothing that is drawn reaches over the edge, by more than a hundredth of an inch."""
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) > -0.01
    assert box.x1 < width + 0.01
    assert box.y1 < height + 0.01


def assert_apart(figure: Any) -> None:
    """Title, panels with their labels, legend and notes cover nothing of each other."""
    renderer = figure.canvas.get_renderer()
    parts = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    parts += [legend.get_window_extent(renderer) for legend in figure.legends]
    panels = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.get_visible()]
    for k, part in enumerate(parts):
        assert not any(part.overlaps(other) for other in [*parts[k + 1 :], *panels])
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            shown = [t for t in labels if t.get_text() and t.get_visible() and t.get_rotation() in (0, 90)]
            boxes = [text.get_window_extent(renderer).padded(-1) for text in shown]
            assert not any(a.overlaps(b) for a, b in pairwise(boxes))


EVIL = "<script>$x_1$ \u202e\u05d0\u0627 \x07\u4e2d " + "long name " * 300


@pytest.mark.slow
def test_names_of_strangers_are_only_names(tmp_path: Path) -> None:
    axes = [Axis(f"_{EVIL}", ("$a$", f"_b{EVIL}"), None, ""), Axis(EVIL[::-1], (EVIL, f"{EVIL}2", "c"), None, "")]
    strange = made_up_study(*axes, replications=2, responses={"r": (EVIL, 1e7, 0.1, 0.1, 0.1)}, question=EVIL)
    for kind in ("line", "heatmap", "tail", "pareto", "series", "fragmentation", "memory_map", "forest"):
        figure = drawn(strange, config(kind, title=EVIL if kind == "line" else None)).figure
        assert_inside(figure)
        said = "".join(texts(figure))
        assert re.search(r"[\x00-\x09\x0b-\x1f\u202e\u05d0\u0627\u4e2d]", said) is None
        assert re.search(r"(?<!\\)\$", said) is None
        assert figure.get_figheight() < 10
    draw_study(strange, tmp_path, formats=("pdf",))
    assert b"/FontFile2" in (tmp_path / "tail_alloc.pdf").read_bytes()


def test_fonts_are_embedded_in_pdfs(study: MadeUpStudy, tmp_path: Path) -> None:
    draw_study(replace_figures(study, FIGURES[0]), tmp_path, formats=("pdf",))
    content = (tmp_path / "line.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content
    streams = [zlib.decompress(part) for part in re.findall(rb"stream\r?\n(x.*?)\r?\nendstream", content, re.DOTALL)]
    assert any(b" Tf" in stream for stream in streams), "letters, not outlines"


def test_png_has_300_dots_an_inch(study: MadeUpStudy, tmp_path: Path) -> None:
    draw_study(replace_figures(study, FIGURES[1]), tmp_path, formats=("png",))
    content = (tmp_path / "line_column.png").read_bytes()
    assert int.from_bytes(content[16:20], "big") == round(3.4 * 300)


def test_only_named_figures_are_drawn(study: MadeUpStudy, tmp_path: Path) -> None:
    files = draw_study(replace_figures(study, *FIGURES[:3]), tmp_path, formats=("png",), names=["heatmap"])
    assert [file.name for file in files] == ["heatmap.png", "heatmap.csv"] == sorted(names(tmp_path), reverse=True)


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_a_failed_write_leaves_the_old_file(study: MadeUpStudy, tmp_path: Path, monkeypatch: Any) -> None:
    one = replace_figures(study, FIGURES[1])
    before = draw_study(one, tmp_path, formats=())[0].read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="no space"):
        draw_study(one, tmp_path, formats=())
    assert (tmp_path / "line_column.csv").read_bytes() == before
    assert names(tmp_path) == ["line_column.csv"]


def test_default_figures_follow_the_axes() -> None:
    both = made_up_study(page_size_axis(), order_axis(), replications=2)
    kinds = [figure.kind for figure in default_figures(both)]
    assert kinds == ["heatmap", "heatmap", "heatmap", "tail", "forest"]
    other = made_up_study(workload_axis(), replications=2, comparisons=[])
    assert [figure.name for figure in default_figures(other)] == [
        "line_latency_mean",
        "line_latency_p999",
        "line_zone_lock_wait",
        "tail_alloc",
    ]


def test_a_study_on_disk_gets_the_figure_of_fragmentation_too(tmp_path: Path) -> None:
    study = replace(made_up_study(replications=2), path=tmp_path)
    assert [figure.name for figure in figures_of(study)][-1] == "fragmentation"
    named = replace_figures(study, config("line", name="fragmentation"))
    assert [(figure.kind, figure.name) for figure in figures_of(named)] == [
        ("line", "fragmentation"),
        ("fragmentation", "fragmentation_2"),
    ]
    own = replace_figures(study, config("fragmentation", name="mine", panels="workload"))
    assert [figure.name for figure in figures_of(own)] == ["mine"]


@pytest.mark.slow
def test_one_width_holds_for_all_figures_that_say_no_size(tmp_path: Path) -> None:
    whole = made_up_study(replications=2)
    asked = FiguresConfig(width="column", each=(config("line"), config("tail", size="page")))
    for figures, sizes in (
        (asked, ["column", "page", "column"]),
        (FiguresConfig(width="column"), ["column"] * 6),
        (FiguresConfig(width="page"), ["page"] * 6),
    ):
        study = replace(whole, path=tmp_path, inquiry=whole.inquiry.model_copy(update={"figures": figures}))
        found = figures_of(study)
        assert [figure.size for figure in found] == sizes
        assert [drawn(study, one).figure.get_figwidth() for one in found] == [WIDTH_INCHES[size] for size in sizes]


def test_a_forest_names_levels_in_order_and_says_what_has_no_relative_difference(study: MadeUpStudy) -> None:
    at_baseline = study.responses["run"].isin(study.runs.loc[study.runs["max_page_order"] == "9", "run"])
    values = study.responses["value"].mask((study.responses["response"] == "memory_held") & at_baseline, 0.0)
    gone = study.runs[(study.runs["page_size"] != "4KiB") | (study.runs["max_page_order"] != "8")]
    orders = [comparison(order_axis(6, 8, 10)).model_copy(update={"baseline": "9"})]
    inquiry = study.inquiry.model_copy(update={"comparisons": tuple(orders)})
    some = study.responses.assign(value=values)
    some = some[some["run"].isin(gone["run"])]
    figure = drawn(replace(study, runs=gone, responses=some, inquiry=inquiry), config("forest", where=SMALL)).figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["6", "8"]
    assert "5 rows left out: the baseline is 0" in " ".join(texts(figure)).replace("\n", " ")


def test_figure_of_gives_a_figure_to_look_at(study: MadeUpStudy) -> None:
    figure = figure_of(study, FIGURES[0])
    assert [axes.get_title() for axes in figure.axes] == [f"page size: {level}" for level in study.axes[0].levels]


@pytest.mark.parametrize("kind", ["line", "heatmap", "pareto", "forest", "tail", "ecdf", "series", "fragmentation"])
def test_a_figure_of_nothing_says_so(kind: str) -> None:
    nothing = made_up_study(replications=2)
    gone = replace(nothing, responses=nothing.responses.assign(value=np.nan), runs=nothing.runs.iloc[:0])
    gone = gone if kind in ("tail", "ecdf", "series", "fragmentation") else replace(gone, runs=nothing.runs)
    figure = drawn(gone, config(kind)).figure
    assert any("no run yields" in text for text in texts(figure))
    assert_inside(figure)


def test_a_study_of_one_run_is_drawn() -> None:
    one = made_up_study(Axis("only", ("level",), None, ""), replications=1, comparisons=[])
    alone = replace(one, axes=(), runs=one.runs.drop(columns="only"))
    for figure in default_figures(alone):
        assert_inside(drawn(alone, figure).figure)
    assert "no CI of so few runs" in " ".join(texts(drawn(alone, config("line")).figure))


def test_100_000_points_are_thinned_and_said_so() -> None:
    levels = tuple(map(str, range(1, 100_001)))
    axis = Axis("rate", levels, tuple(map(float, levels)), "")
    responses = {f"r{k}": ("latency_mean", 100.0, 1e-5, 0.0, 0.1) for k in range(2)}
    many = made_up_study(axis, replications=1, responses=responses, comparisons=[])
    data, figure = (found := drawn(many, config("line"))).data, found.figure
    assert len(data) == 400
    assert data["rate"].iloc[[0, -1]].tolist() == ["1", "100000"]
    assert "400 of 100,000 levels of rate drawn" in " ".join(texts(figure)).replace("\n", " ")
