"""The page of a result: what is in it, what cannot get into it, and how large it is."""

import json
import re
import zlib
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.config.inquiry import FigureConfig, Inquiry
from kmsim.config.product import Axis
from kmsim.metrics.page_map import PAGE_STATES
from kmsim.mm.mmzone import MIGRATETYPE_NAMES
from kmsim.output import OutputError
from kmsim.plots import report_figures, report_map
from kmsim.plots.report import BYTES_MAX, report_html, write_report
from kmsim.plots.report_map import MIGRATETYPES, maps_of
from kmsim.plots.report_tables import ROWS_MAX, nr_rows_left_out, study_tables, table
from kmsim.plots.report_text import encoded, readable
from kmsim.study.checksums import seal
from kmsim.study.results import StudyResult
from kmsim.study.store import NotAResult, Result
from tests.plots.report_studies import (
    HOSTILE,
    MadeUp,
    Shape,
    hostile_study,
    map_rows,
    plain_run,
    result_with_map,
    study_result,
)
from tests.plots.studies import comparison, made_up_study

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (920).to_bytes(4, "big") + (640).to_bytes(4, "big")
SMALL = Shape(nr_snapshots=3, zones=(("Normal", 512, 7),), pages_per_block=4)


class Page(HTMLParser):
    """The elements of a page, and what stands in its style and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"style": [], "script": []}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in self.texts and data.strip():
            self.texts[self.elements[-1][0]].append(data)


def data_of(html: str) -> dict[str, Any]:
    found = json.loads(Page(html).texts["script"][0])
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def html() -> str:
    return report_html(study_result())


# ---- the page


def test_a_page_is_one_file_that_loads_nothing(html: str) -> None:
    page = Page(html)
    linked = [value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")]
    assert linked == ["data:,", "#main"]
    assert not re.search(r"https?://", html)


def test_its_policy_allows_its_own_style_and_script_only(html: str) -> None:
    page = Page(html)
    policy = next(attributes["content"] or "" for _, attributes in page.elements if "http-equiv" in attributes)
    hashes = [
        f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
        for text in (page.texts["script"][1], page.texts["style"][0])
    ]
    assert policy == (
        f"default-src 'none'; script-src '{hashes[0]}'; style-src '{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def test_no_script_reads_text_as_html(html: str) -> None:
    script = Page(html).texts["script"][1]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch("):
        assert word not in script


def test_headings_are_in_order_and_parts_are_named(html: str) -> None:
    page = Page(html)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("header", "nav", "main", "footer", "noscript")] == [1] * 5
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes.get("aria-labelledby") for tag, attributes in page.elements if tag == "section"} <= set(ids)


def test_what_a_study_did_is_said(html: str) -> None:
    data = data_of(html)
    assert data["facts"] == [
        "4 points",
        "1 dropped point",
        "12 runs",
        "1 failed run",
        "1 run that could not go on",
        "1,200,000 simulated operations",
        "seed 17",
    ]
    assert data["commands"] == [
        "# Python 3.11.2",
        "pip install kmsim==0.1.0",
        "kmsim run config.yaml --out again",
        "kmsim report again",
    ]
    assert ["versions numpy", "2.0.0"] in data["provenance"]
    assert data["left_out"] == ["tables and memory maps of 8 of 12 runs"]


def test_each_point_has_one_run_in_detail(html: str) -> None:
    shown = data_of(html)["shown"]
    assert [run["label"] for run in shown] == [
        "run 0, machine.page_size 4KiB, workload net-rx 0, seed 17",
        "run 3, machine.page_size 4KiB, workload net-rx 1, seed 17",
        "run 6, machine.page_size 16KiB, workload net-rx 0, seed 17",
        "run 9, machine.page_size 16KiB, workload net-rx 1, seed 17",
    ]
    assert [zone["name"] for zone in shown[0]["zones"]] == ["DMA32", "Normal"]


def test_a_run_alone_has_a_page_too(tmp_path: Path) -> None:
    data = data_of(write_report(plain_run(), tmp_path / "report.html").read_text())
    assert data["facts"] == ["1 point", "1 run", "100,000 simulated operations", "seed 1"]
    assert [run["zones"] for run in data["shown"]] == [[]]
    assert next(column["values"] for column in data["tables"]["comparisons"]["columns"]) == []
    assert data["left_out"] == []


def test_a_page_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="must be a file that can be written"):
        write_report(plain_run(), tmp_path / "folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_a_damaged_run_is_named() -> None:
    class Damaged(MadeUp):
        def run(self, number: int) -> Result:
            raise NotAResult(f"runs/{number}.zip: checksum differs")

    study = study_result(SMALL)
    object.__setattr__(study, "__class__", Damaged)
    with pytest.raises(NotAResult, match="checksum differs"):
        report_html(study)


def test_tracebacks_are_shown_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "failures").mkdir()
    for n in range(25):
        (tmp_path / "failures" / f"{n:02}.txt").write_text(f"AssertionError {n}\n")
    seal(tmp_path, [f"failures/{n:02}.txt" for n in range(25)])
    data = data_of(report_html(study_result(path=tmp_path)))
    assert data["tracebacks"][0] == {"name": "Traceback of 00", "text": "AssertionError 0\n"}
    assert len(data["tracebacks"]) == 20
    assert "5 tracebacks; they are in failures/" in data["left_out"]


# ---- text of others


def test_hostile_text_does_not_leave_the_data() -> None:
    plain, hostile = report_html(study_result()), report_html(hostile_study())
    assert Page(hostile).elements == Page(plain).elements
    assert Page(hostile).texts["script"][1] == Page(plain).texts["script"][1]
    data = data_of(hostile)
    assert data["tables"]["axes"]["columns"][0]["values"][0].startswith("0<script>window.hacked")
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u2028\u2066]", hostile)


def test_what_is_not_seen_is_named() -> None:
    assert readable("a\x00b\u202ec\u2028d\ud800") == "a⟨U+0000⟩b⟨U+202E⟩c⟨U+2028⟩d⟨U+D800⟩"
    assert readable("two\nlines\tof שלום, 页, µs") == "two\nlines\tof שלום, 页, µs"
    assert readable("a" * 10_000) == "a" * 200 + "… (10,000 characters)"


@pytest.mark.parametrize("text", HOSTILE)
def test_data_are_the_same_after_they_are_encoded(text: str) -> None:
    written = encoded({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set("<>&\u2028\u2029") & set(written)


def test_a_number_that_is_none_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encoded([float("nan")])


# ---- tables


def test_a_table_is_by_column() -> None:
    rows = pd.DataFrame({"p_holm": [0.123456789, np.nan, np.inf], "max_page_order": [9, 10, 11], "seed": [1, 1, 1]})
    made = table(rows.assign(ok=[True, False, True], what=["a", None, "c"]), "Things", "None.")
    assert made["columns"] == [
        {"heading": "p (Holm)", "kind": "number", "values": [0.123457, None, None]},
        {"heading": "max page order", "kind": "number", "values": [9, 10, 11]},
        {"heading": "ok", "kind": "text", "values": ["yes", "no", "yes"]},
        {"heading": "what", "kind": "text", "values": ["a", "", "c"]},
    ]
    assert made["same"] == [{"heading": "seed", "kind": "number", "values": [1]}]


def test_rows_of_one_value_stay_rows() -> None:
    made = table(pd.DataFrame({"seed": [1, 1, 1]}), "Seeds", "None.")
    assert made["columns"][0]["values"] == [1, 1, 1]


def test_a_table_without_room_keeps_its_first_rows() -> None:
    rows = pd.DataFrame({"n": np.arange(100_000), "name": "a name that takes room"})
    made = table(rows, "Many", "None.", most_bytes=50_000)
    shown = made["columns"][0]["values"]
    assert shown == list(range(len(shown)))
    assert 4_000 < len(shown) < ROWS_MAX
    assert nr_rows_left_out(made) == 100_000 - len(shown)
    assert len(encoded(made)) <= 50_000


def test_dotted_axes_are_called_by_their_last_words_and_numbers_follow_the_levels() -> None:
    axes = [
        Axis("machine.page_size", ("4KiB", "16KiB"), (4096.0, 16384.0), "B"),
        Axis("machine.unit", ("a", "b"), None, ""),
    ]
    made = study_tables(made_up_study(*axes, replications=2, comparisons=[comparison(axis) for axis in axes]))
    headings = [column["heading"] for column in made["comparisons"]["columns"]]
    assert headings[3:9] == ["baseline", "level", "page size", "machine.unit", "baseline mean", "difference"]
    assert headings[-1] == "axis"
    assert {"page size", "machine.unit"} <= {column["heading"] for column in made["estimates"]["columns"]}


def test_of_too_many_comparisons_the_surest_stay() -> None:
    study = study_result(Shape(nr_points=8_000, nr_replications=2, zones=()))
    made = data_of(report_html(study))["tables"]["comparisons"]
    p = next(column["values"] for column in made["columns"] if column["heading"] == "p (Holm)")
    assert made["total"] == 12_000
    assert 1_000 < len(p) < 12_000
    assert p == sorted(p)


# ---- memory map


def unpacked(zone: dict[str, Any]) -> tuple[Any, Any]:
    """Migratetypes and states (or counts) by snapshot and pageblock, as the page's script reads them."""
    nr_times, nr_blocks = len(zone["times_ns"]), len(zone["first_pfns"])
    flat = np.frombuffer(zlib.decompress(b64decode(zone["packed"])), np.uint8).reshape(nr_times, -1)
    snapshots = np.bitwise_xor.accumulate(flat, axis=0)
    types, body = snapshots[:, :nr_blocks], snapshots[:, nr_blocks:]
    if not zone["has_pages"]:
        return types, np.ascontiguousarray(body).view("<u2").reshape(nr_times, nr_blocks, -1)
    pages = np.stack((body & 15, body >> 4), axis=-1).reshape(nr_times, -1)
    return types, pages[:, : nr_blocks * zone["pages_per_block"]].reshape(nr_times, nr_blocks, -1)


@pytest.mark.parametrize("pages_per_block", [1, 4, 512])
def test_a_map_is_unpacked_as_it_was(pages_per_block: int) -> None:
    rows = map_rows(SMALL._replace(pages_per_block=pages_per_block))
    maps = maps_of(result_with_map(rows.sample(frac=1, random_state=1)), 1_000_000)
    types, states = unpacked(maps.zones[0])
    assert maps.left_out == []
    assert [MIGRATETYPES[n] for n in types.ravel()] == rows["migratetype"].tolist()
    assert states.astype(np.uint8).tobytes() == b"".join(rows["pages"])
    assert maps.zones[0]["pages_per_block"] == pages_per_block
    assert maps.zones[0]["first_pfns"] == sorted(rows["start_pfn"].unique())
    assert maps.zones[0]["states"] == ["free", "on a per-CPU list", "slab", "used", "reserved"]


def test_a_map_without_single_pages_has_their_counts() -> None:
    rows = map_rows(SMALL).assign(pages=b"")
    maps = maps_of(result_with_map(rows), 1_000_000)
    _, counts = unpacked(maps.zones[0])
    assert maps.zones[0]["has_pages"] is False
    assert counts.reshape(-1, 5).tolist() == rows[[f"nr_{state}" for state in PAGE_STATES]].values.tolist()
    assert maps.left_out == []


def test_of_a_map_without_room_there_are_fewer_snapshots_then_no_pages_then_nothing() -> None:
    rows = map_rows(Shape(nr_snapshots=40, zones=(("Normal", 0, 100),)))
    result = result_with_map(rows)
    whole = len(maps_of(result, 10_000_000).zones[0]["packed"])
    half = maps_of(result, int(0.95 * whole))
    times = half.zones[0]["times_ns"]
    assert half.left_out == ["map of zone Normal: 20 of 40 snapshots"]
    assert times == rows["time_ns"].unique()[1::2].tolist()
    assert half.zones[0]["has_pages"]
    counts = maps_of(result, whole // 6)
    assert counts.left_out[-1] == "map of zone Normal: its single pages"
    assert not counts.zones[0]["has_pages"]
    assert maps_of(result, 100) == ([], ["map of zone Normal: no room even for one snapshot"])


def test_a_map_that_a_browser_could_not_hold_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_map, "UNPACKED_BYTES", 10_000)
    maps = maps_of(result_with_map(map_rows(Shape(nr_snapshots=12, zones=(("Normal", 0, 40),)))), 10_000_000)
    assert [len(zone["times_ns"]) for zone in maps.zones] == [6]


def test_the_page_names_migratetypes_as_the_kernel_does() -> None:
    assert MIGRATETYPES == MIGRATETYPE_NAMES


# ---- figures


def config(**given: str) -> FigureConfig:
    return FigureConfig.model_validate(given)


def with_figures(folder: Path, **files: bytes) -> StudyResult:
    (folder / "figures").mkdir()
    for name, content in files.items():
        (folder / "figures" / name.replace("__", ".")).write_bytes(content)
    seal(folder / "figures", [name.replace("__", ".") for name in files])
    configs = (
        config(name="tail", kind="tail", title="Who waits longest?", hue="workload"),
        config(name="cost", kind="line", x="page_size", y="alloc_mean", panels="workload"),
    )
    return study_result(SMALL, path=folder, inquiry=Inquiry(question="Why?", figures=configs))


def test_figures_come_in_the_configs_order_with_their_data(tmp_path: Path) -> None:
    study = with_figures(tmp_path, latency__png=PNG, cost__png=PNG, tail__png=PNG, cost__csv=b"a,b\r\n1,2\r\n")
    figures = report_figures.figures_of(study)
    titles = [figure["title"] for figure in figures.shown]
    assert titles == ["Who waits longest?", "cost", "How long does an operation take?"]
    assert figures.shown[1]["csv"] == "a,b\n1,2\n"
    assert b64decode(figures.shown[0]["png"]) == PNG
    assert figures.shown[0]["width"] == 460
    assert figures.left_out == ["figure fragmentation: no run yields what it shows"]


def test_a_figure_is_told_in_words(tmp_path: Path) -> None:
    study = with_figures(tmp_path, cost__png=PNG, latency__png=PNG)
    assert [figure["alt"] for figure in report_figures.figures_of(study).shown] == [
        "cost. A line chart: alloc_mean, over page_size, a panel for each workload. It belongs to the question: Why?",
        "Figure: How long does an operation take?",
    ]


def test_figures_without_room_and_files_that_are_none_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_figures, "PNG_BYTES", 200)
    monkeypatch.setattr(report_figures, "CSV_BYTES", 3)
    files = {"cost__png": PNG, "cost__csv": b"a,b\n1,2\n", "latency__png": PNG + bytes(200), "text__png": b"none"}
    figures = report_figures.figures_of(with_figures(tmp_path, **files))
    assert [figure["name"] for figure in figures.shown] == ["cost"]
    assert figures.left_out == [
        "data of figure cost: no room; they are figures/cost.csv",
        "figure latency: no room for its 224 bytes; it is figures/latency.png",
        "figure text: the file is not a PNG",
        "figure tail: no run yields what it shows",
        "figure fragmentation: no run yields what it shows",
    ]


@pytest.mark.slow
def test_the_largest_study_has_a_page_below_10_mb(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    for folder in ("figures", "failures"):
        (tmp_path / folder).mkdir()
    names = [f"{n:02}" for n in range(40)]
    for name in names:
        (tmp_path / "figures" / f"{name}.png").write_bytes(PNG + noise.bytes(300_000))
        (tmp_path / "figures" / f"{name}.csv").write_text("<>&" * 30_000)
        (tmp_path / "failures" / f"{name}.txt").write_text("<&>" * 30_000)
    seal(tmp_path / "figures", [f"{name}.{kind}" for name in names for kind in ("png", "csv")])
    seal(tmp_path, [f"failures/{name}.txt" for name in names])
    shape = Shape(4_000, nr_replications=2, nr_snapshots=2, zones=(("Normal", 0, 2_000),), pages_per_block=512)
    study = study_result(shape, path=tmp_path, config_yaml="<&>\u202e" * 1_000_000)
    page = write_report(study, tmp_path / "report.html")
    left_out = " ".join(data_of(page.read_text())["left_out"])
    assert 4_000_000 < page.stat().st_size < BYTES_MAX
    whats = ("rows of estimates", "figure 39", "tracebacks", "the end of the config", "single pages")
    assert [what for what in whats if what not in left_out] == []
