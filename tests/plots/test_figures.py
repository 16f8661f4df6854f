"""The figures, as a reader's eye meets them: titles, units, counts, nothing cut off; and the same bytes each time."""

import re
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from kmsim.plots.figures import PART_SHADES, PARTS, draw_all, free_memory, latency, lock_waiting
from kmsim.plots.style import styled
from tests.plots.results import RESULTS, result_of

mpl.use("Agg")

UNITLESS = ("CPU", "order of the blocks")
FIGURES = {"latency": latency, "free_memory": free_memory, "lock_waiting": lock_waiting}
everything = pytest.mark.parametrize("name", RESULTS)
every_figure = pytest.mark.parametrize("figure", FIGURES)


@cache
def drawn(figure: str, name: str) -> Any:
    """A figure with a canvas that has drawn it once, so that every text has its place."""
    with styled():
        made = FIGURES[figure](result_of(name)).figure
        FigureCanvasAgg(made).draw()
    plt.close(made)
    return made


def texts(figure: Any) -> list[str]:
    """Every text of the legends."""
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    return [text.get_text() for legend in legends for text in (legend.get_title(), *legend.get_texts())]


@everything
@every_figure
def test_a_figure_has_a_title_that_asks_its_question(figure: str, name: str) -> None:
    made = drawn(figure, name)
    titles = [made.get_suptitle(), *(axes.get_title() for axes in made.axes)]
    assert next(title for title in titles if title).endswith("?")


@everything
@every_figure
def test_every_axis_is_labelled_with_its_unit(figure: str, name: str) -> None:
    shown = [axes for axes in drawn(figure, name).axes if axes.get_visible()]
    for axes in shown:
        for axis in (axes.xaxis, axes.yaxis):
            label = axis.get_label_text()
            if axis.get_ticklabels() and any(tick.get_visible() and tick.get_text() for tick in axis.get_ticklabels()):
                assert label in UNITLESS or (label.endswith(")") and "(" in label), label


@everything
@every_figure
def test_a_legend_says_how_many_observations_are_shown(figure: str, name: str) -> None:
    assert any("n = " in text for text in texts(drawn(figure, name)))


@everything
@every_figure
def test_nothing_is_outside_of_the_canvas(figure: str, name: str) -> None:
    made = drawn(figure, name)
    tight = made.get_tightbbox()
    width, height = made.get_size_inches()
    assert (min(tight.x0, tight.y0) >= 0, tight.x1 <= width, tight.y1 <= height) == (True, True, True), tight


@everything
@every_figure
def test_no_tick_label_covers_another(figure: str, name: str) -> None:
    for axes in drawn(figure, name).axes:
        for axis in (axes.xaxis, axes.yaxis):
            boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
            assert not any(a.overlaps(b) for a, b in combinations([box for box in boxes if box.width], 2))


def brightness(colour: Any) -> float:
    red, green, blue = to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_lines_of_two_orders_differ_on_a_grey_printer_and_where_they_coincide() -> None:
    lines = drawn("latency", "all orders").axes[0].lines
    greys = [brightness(line.get_color()) for line in lines]
    assert len(lines) == 11
    assert greys == sorted(greys, reverse=True)
    assert max(greys) < 0.8
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths, reverse=True)
    assert len({(round(grey, 2), width) for grey, width in zip(greys, widths, strict=True)}) == 11


def test_operations_that_all_took_the_same_time_are_a_line_down_to_the_axis() -> None:
    for axes in drawn("latency", "equal latencies").axes:
        bottom, top = axes.get_ylim()
        assert len(axes.lines) == 2
        for line in axes.lines:
            x, y = line.get_data()
            assert y[0] == 100 < top
            assert y[-1] == pytest.approx(bottom)
            assert axes.get_xlim()[0] < x[-1] < axes.get_xlim()[1]


def test_a_line_is_the_share_of_its_orders_operations_that_take_longer() -> None:
    histograms = result_of("all flags").histograms
    of_order = histograms[(histograms["kind"] == "free") & (histograms["order"] == 10)]
    x, y = drawn("latency", "all flags").axes[1].lines[1].get_data()
    for i in (5, 60, len(x) - 2):
        longer = of_order[of_order["high_ns"] > x[i]]["count"].sum()
        assert y[i] == pytest.approx(100 * longer / of_order["count"].sum())


def test_of_many_things_the_most_frequent_have_a_line_and_the_rest_is_one() -> None:
    result = result_of("every allocator")
    labels = [re.match(r"(.*) \(n = ([\d,]+)", text) for text in texts(drawn("latency", "every allocator"))]
    counts = {match[1]: int(match[2].replace(",", "")) for match in labels[: len(labels) // 2] if match}
    operations = result.operations.query("kind == 'alloc'")
    assert len(counts) == 14
    assert list(counts)[-1] == "others"
    assert sum(counts.values()) == operations["count"].sum()
    assert counts["kmalloc-8k"] == operations.query("cache == 'kmalloc-8k' and api == 'slab'")["count"].sum()
    caches = [name for name in counts if name.startswith("kmalloc-")]
    sizes = result.slabs.set_index("cache")["object_size"]
    assert [sizes[name] for name in caches] == sorted(sizes[name] for name in caches)


def test_failed_operations_are_counted_in_the_legend() -> None:
    operations = result_of("exhausted").operations
    failed = operations.query("kind == 'alloc'")["failed"].sum()
    assert any(f"{failed:,} failed" in text for text in texts(drawn("latency", "exhausted")))


def test_an_order_of_which_every_allocation_failed_is_in_the_legend_without_a_line() -> None:
    axes = drawn("latency", "all failed").axes[0]
    assert [len(line.get_xdata()) > 0 for line in axes.lines] == [True] * 10 + [False]
    assert [text.get_text() for text in axes.get_legend().get_texts()][-2:] == [
        "order 9 (n = 80, 200 M failed)",
        "order 10 (n = 0, 200 M failed)",
    ]


def test_a_kind_that_never_happened_says_so() -> None:
    assert texts(drawn("latency", "no free"))[-1] == "none (n = 0)"


def test_free_memory_has_a_row_for_each_order_and_its_last_size_beside_it() -> None:
    axes = drawn("free_memory", "exhausted").axes[0]
    samples = result_of("exhausted").samples
    last = samples[samples["time_ns"] == samples["time_ns"].max()].groupby("order")["free_pages"].sum()
    beside = [text.get_text() for text in axes.texts if text.get_text() != "at the end"]
    assert len(beside) == 11
    assert [size == "none" for size in beside] == [pages == 0 for pages in last]
    (order, pages) = next((order, pages) for order, pages in last.items() if 1 < pages < 10)
    assert beside[order] == f"{4 * pages} KiB"


def test_free_memory_that_is_a_thousandth_of_the_rest_has_another_colour() -> None:
    (mesh, *_) = drawn("free_memory", "three zones").axes[0].collections
    greys = [brightness(colour) for colour in mesh.to_rgba(mesh.get_array()[:, -1])[:, :3]]
    assert greys[10] < greys[6] < greys[0]
    assert greys[0] - greys[10] > 0.5


def test_memory_of_which_nothing_is_free_is_white() -> None:
    axes = drawn("free_memory", "exhausted").axes[0]
    (mesh, *_) = axes.collections
    assert np.ma.getmaskarray(mesh.get_array()).any()
    assert axes.get_facecolor()[:3] == (1, 1, 1)


def test_free_memory_draws_no_more_samples_than_paper_has_dots_and_always_the_last() -> None:
    (mesh, *_) = drawn("free_memory", "many samples").axes[0].collections
    columns = mesh.get_array().shape[1]
    assert 500 < columns <= 800
    assert f"none free (n = {columns} of 5,000 samples)" in texts(drawn("free_memory", "many samples"))
    samples = result_of("many samples").samples
    last = samples[samples["time_ns"] == samples["time_ns"].max()].groupby("order")["free_pages"].sum()
    assert mesh.get_array()[:, -1].filled(0) * 256 == pytest.approx(last.to_numpy())


def heights(axes: Any, cpu: int) -> list[float]:
    """How high each part of a CPU's bar is drawn, from the bottom up."""
    outlines = [shape.get_paths()[0].vertices for shape in axes.collections]
    return [max(y for x, y in outline if abs(x - cpu) < 0.45) for outline in outlines]


@pytest.mark.parametrize("name", ["all orders", "exhausted", "no free"])
def test_lock_waiting_stacks_the_parts_of_each_cpus_time(name: str) -> None:
    axes = drawn("lock_waiting", name).axes[0]
    cpus = result_of(name).cpus
    for cpu in range(len(cpus)):
        shares = [100 * cpus.loc[cpu, columns].sum() / cpus.loc[cpu, "run_ns"] for columns in PARTS.values()]
        assert heights(axes, cpu) == pytest.approx(list(np.cumsum(shares[:-1])), abs=1e-9)
        assert sum(shares) == pytest.approx(100)


def test_lock_waiting_shows_every_cpu_of_many_at_its_number() -> None:
    axes = drawn("lock_waiting", "256 CPUs").axes[0]
    waiting = axes.collections[0].get_paths()[0].vertices[:, 0]
    assert (waiting.min(), waiting.max()) == (-0.5, 255.5)
    ticks = [text.get_text() for text in axes.get_xticklabels() if text.get_window_extent().width]
    assert {"0", "32", "224"} <= set(ticks)
    assert len(axes.get_children()) < 50


def test_lock_waiting_says_the_mean_of_each_part() -> None:
    cpus = result_of("256 CPUs").cpus
    mean = 100 * (cpus["lock_wait_ns"] / cpus["run_ns"]).mean()
    said = texts(drawn("lock_waiting", "256 CPUs"))
    assert said[:2] == ["mean over all CPUs (n = 256)", f"waiting for locks ({mean:.2g} %)"]
    assert said[-1].startswith("the rest: idle (7")


@pytest.mark.parametrize("name", ["one operation", "no free", "no operation"])
def test_lock_waiting_of_nobody_says_so_and_starts_at_zero(name: str) -> None:
    axes = drawn("lock_waiting", name).axes[0]
    assert texts(drawn("lock_waiting", name))[1] == "waiting for locks (0 %)"
    assert axes.get_ylim()[0] == 0 < axes.get_ylim()[1]


def test_the_parts_that_touch_differ_on_a_grey_printer() -> None:
    axes = drawn("lock_waiting", "all orders").axes[0]
    greys = [brightness(shape.get_facecolor()[0][:3]) for shape in axes.collections]
    assert len(greys) == len(PART_SHADES) == len(PARTS) - 1
    assert greys[0] == min(greys)
    assert min(abs(a - b) for a, b in pairwise(greys)) > 0.15
    assert min(abs(a - b) for a, b in combinations(greys, 2)) > 0.08


@pytest.mark.slow
def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        draw_all(RESULTS["all flags"](), folder, ("pdf", "png"))
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(f"{figure}.{suffix}" for figure in FIGURES for suffix in ("csv", "pdf", "png"))
    for name in names:
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
        assert len(first) > (100 if name.endswith("csv") else 5000)


def test_the_data_of_a_figure_is_what_it_shows() -> None:
    figure, data = latency(result_of("all orders"))
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata())]
    curves = [curve for _, curve in data.groupby(["kind", "line"], sort=False)]
    assert len(lines) == len(curves) > 2
    for line, curve in zip(lines, curves, strict=True):
        assert np.array_equal(line.get_xdata(), curve["latency_ns"])
        assert np.array_equal(line.get_ydata(), curve["longer_percent"])
    _, shares = lock_waiting(result_of("all orders"))
    assert shares.drop(columns="CPU").sum(axis=1).to_numpy() == pytest.approx(100)
    _, free = free_memory(result_of("all orders"))
    samples = result_of("all orders").samples
    assert set(free["time_ns"]) == set(samples["time_ns"])
    assert free["free_mib"].sum() > 0
