"""kmsim from Python: runs and studies, run and loaded, and their figures."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import kmsim
from kmsim.config import ConfigError, FigureConfig, loads
from kmsim.output import OutputError
from kmsim.plots.figures import NAMES
from kmsim.study.results import StudyResult, load_study
from kmsim.study.store import NotAResult, Result
from kmsim.units import TIME_UNITS
from tests.studies import mapping
from tests.study.campaigns import LIVE, RESPONSES, contents, run, small_design

THREAD = {"operations": 40, "requests": [{"order": 0}, {"order": 4}]}
SWEEP = {"axes": [{"key": LIVE, "name": "live", "values": [8, 16]}]}
STUDY = {
    **mapping(THREAD),
    "sweep": SWEEP,
    "replications": 2,
    "responses": RESPONSES,
    "comparisons": [{"axis": "live"}],
}
PNG = b"\x89PNG\r\n\x1a\n"


def study(**others: object) -> dict[str, object]:
    return {**STUDY, **others}


def test_a_config_of_one_run_gives_a_result(tmp_path: Path) -> None:
    result = kmsim.run(mapping(THREAD), tmp_path / "out")
    assert isinstance(result, Result)
    loaded = kmsim.load(tmp_path / "out")
    assert isinstance(loaded, Result)
    assert loaded.operations.equals(result.operations)
    resolved = loads(result.config_yaml)
    assert kmsim.run(resolved).operations.equals(result.operations)


def test_a_seed_and_overrides_are_laid_over_a_config(tmp_path: Path) -> None:
    overrides = {"machine.cpus": np.int64(1), "workload.threads[0].operations": 20, "run": {"sample_every": "10us"}}
    result = kmsim.run(mapping(THREAD), seed=np.int64(7), overrides=overrides)
    study = loads(result.config_yaml)
    assert (study.seed, study.machine.cpus, study.workload.threads[0].operations) == (7, 1, 20)
    assert study.run.sample_every == 10_000_000
    file = tmp_path / "study.yaml"
    file.write_text(result.config_yaml)
    assert loads(kmsim.run(file, seed=8).config_yaml).seed == 8
    for wrong, message in (
        ({"jobs": 0}, "at least 1 worker"),
        ({"jobs": "2"}, "found '2'"),
        ({"overrides": [1]}, "mapping"),
    ):
        with pytest.raises(ValueError, match=message):
            kmsim.run(mapping(THREAD), **wrong)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="resolved"):
        kmsim.run(study, seed=1)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"machine.cpu": 1}, "machine.cpu: must be one of the keys .*; did you mean 'cpus'"),
        ({"machine.cpus": {1}}, "machine.cpus: must be text, a number, true or false, a list or a mapping, found set"),
        ({"machine.cpus": float("nan")}, "machine.cpus: must be text, a number.*, found nan"),
        ({"machine..cpus": 1}, "must be KEY=VALUE"),
        ({"name": "--set x=1\nseed=3"}, "name: must be"),
    ],
)
def test_wrong_overrides_are_refused_by_their_key(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kmsim.run(mapping(THREAD), overrides=overrides)


def test_a_study_gives_a_study_s_result(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    result = kmsim.run(study(), tmp_path / "api", progress=lambda done, total: said.append((done, total)))
    assert isinstance(result, StudyResult)
    assert len(result.runs) == 4
    assert len(result.estimates) == 2 * len(RESPONSES)
    assert len(result.comparisons) == len(RESPONSES)
    assert said[-1] == (4, 4)
    loaded = kmsim.load(str(tmp_path / "api"))
    assert isinstance(loaded, StudyResult)
    assert loaded.estimates.equals(result.estimates)
    run(small_design(8, 16, comparisons=[{"axis": "live"}]), tmp_path / "campaign")
    assert contents(tmp_path / "api") == contents(tmp_path / "campaign")


@pytest.mark.slow
def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    kmsim.run(study(), tmp_path / "one")
    kmsim.run(study(), tmp_path / "two", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_a_study_cannot_have_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="small has 4 runs: out must be a folder"):
        kmsim.run(study())
    with pytest.raises(ValueError, match="beside one run only"):
        kmsim.run(study(), tmp_path / "out", processes=[lambda simulation: simulation.env.timeout(TIME_UNITS["us"])])
    with pytest.raises(ValueError, match="small has 4 runs: a timeline is of one run only"):
        kmsim.run(study(), tmp_path / "out", timeline=tmp_path / "trace.json")
    with pytest.raises(OutputError, match="Is a directory"):
        kmsim.run(mapping(THREAD), tmp_path / "out", timeline=tmp_path)
    with pytest.raises(NotAResult, match="must be a result folder"):
        kmsim.load(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_timeline_is_written_beside_the_result(tmp_path: Path) -> None:
    plain = kmsim.run(mapping(THREAD))
    seen = kmsim.run(mapping(THREAD), timeline=tmp_path / "trace.json")
    assert isinstance(plain, Result)
    assert isinstance(seen, Result)
    assert seen.operations.equals(plain.operations)
    assert seen.locks.equals(plain.locks)
    assert (tmp_path / "trace.json").read_text().startswith('{"displayTimeUnit": "ns"')


def test_a_study_s_figures_are_those_it_asks_for_and_fragmentation(tmp_path: Path) -> None:
    asked = [{"kind": "line", "name": "how_long", "y": "latency_mean"}, {"kind": "forest"}]
    result = kmsim.run(study(figures=asked), tmp_path / "out")
    found = kmsim.figures(result)
    assert list(found) == ["how_long", "forest", "fragmentation"]
    assert all(isinstance(one, Figure) for one in found.values())
    assert found["how_long"]._repr_png_()[:8] == PNG
    assert found["how_long"]._repr_png_() == kmsim.figure(result, "how_long")._repr_png_()
    assert isinstance(kmsim.figure(result, {"kind": "tail", "hue": "live"}), Figure)
    assert isinstance(kmsim.figure(result, FigureConfig(kind="ecdf")), Figure)
    for wrong, said in (
        ("how_short", "must be one of how_long, forest, fragmentation"),
        ({"kind": "line", "y": "latency"}, "figure, y: must .* found 'latency'"),
        ({"kind": "line", "x": "dead"}, "figure, x: must .* found 'dead'"),
    ):
        with pytest.raises(ValueError, match=said):
            kmsim.figure(result, wrong)


@pytest.mark.slow
def test_a_run_s_figures_are_those_of_all_runs(tmp_path: Path) -> None:
    result = kmsim.run(mapping(THREAD), tmp_path / "out")
    found = kmsim.figures(result)
    assert tuple(found) == NAMES
    assert repr(result) == f"<run small: {result.operations['count'].sum():,} operations, seed 1>"
    for name, figure in found.items():
        assert figure._repr_png_() == (tmp_path / "out" / "figures" / f"{name}.png").read_bytes()
    assert isinstance(kmsim.figure(result, {"kind": "tail"}), Figure)


def test_drawing_leaves_the_user_s_figures_alone() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums(), plt.get_backend()
    kmsim.figures(kmsim.run(mapping(THREAD)))
    assert (plt.get_fignums(), plt.get_backend()) == before


def test_jupyter_shows_a_study_and_none_of_its_names_is_markup(tmp_path: Path) -> None:
    names = study(question="Is <b> & 'x' \"y\" > z?", sweep={"axes": [{**SWEEP["axes"][0], "name": "<script>live"}]})
    result = kmsim.run({**names, "comparisons": []}, tmp_path / "out")
    shown = result._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;live" in shown
    assert "Is &lt;b&gt; &amp; &#x27;x&#x27; &quot;y&quot; &gt; z?" in shown
    assert "2 points, 4 runs, 0 failed, seed 1" in shown
    assert shown.count("<tr") == 1 + len(result.estimates)
    many = kmsim.run(study(sweep={"axes": [{**SWEEP["axes"][0], "values": list(range(4, 14))}]}), tmp_path / "many")
    assert "the first 20 of 30 estimates" in many._repr_html_()
    assert load_study(tmp_path / "out")._repr_html_() == shown


def test_a_figure_of_a_wrong_kind_says_which_kinds_there_are() -> None:
    result = kmsim.run({"machine": "x86-laptop", "workload": {"threads": [{"name": "a", "operations": 10}]}})
    with pytest.raises(ConfigError, match=r"^figure: kind: must be one of line, .* found 'tial'; did you mean 'tail'"):
        kmsim.figure(result, {"kind": "tial"})
