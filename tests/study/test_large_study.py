"""A study of 100,000 points with 20 responses is loaded, estimated and drawn with little work, in 2 GiB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmsim.study.checksums import seal
from kmsim.study.collect import RUNS, TABLES
from kmsim.study.store import SCHEMA_VERSION
from tests.patience import LITTLE_WORK_S

NR_POINTS, NR_RESPONSES = 100_000, 20
NR_LEVELS = (100, 1_000)
BYTES_MAX = 2 << 30
STUDY = """\
name: large
machine: {extends: x86-laptop}
workload: {threads: [{name: a}]}
sweep:
  axes:
    - {key: "workload.threads[0].live", name: a, values: [4]}
    - {key: "workload.threads[0].operations", name: b, values: [4]}
responses: [%s]
"""
LOADED = """\
import json, os, sys
from kmsim.config.inquiry import FigureConfig
from kmsim.plots.study_figures import figure_of
from kmsim.study.results import load_study
from tests.taken import peak_bytes
study = load_study(sys.argv[1])
rows = len(study.estimates)
figure = figure_of(study, FigureConfig(kind="line", x="b", hue="a", where={"a": ["4", "8", "12"]}))
figure.savefig(sys.argv[2])
print(json.dumps({"rows": rows, "cpu_seconds": sum(os.times()[:2]), "peak_bytes": peak_bytes()}))
"""


def large_study(out: Path) -> None:
    """Write the tables of a study of 100 by 1,000 levels."""
    (out / "runs").mkdir(parents=True)
    rng = np.random.default_rng(1)
    number = np.arange(NR_POINTS)
    levels = [[str(4 * (n + 1)) for n in range(nr)] for nr in NR_LEVELS]
    of_axes = {
        "a": np.take(np.array(levels[0]), number // NR_LEVELS[1]),
        "b": np.take(np.array(levels[1]), number % NR_LEVELS[1]),
    }
    zeros, texts = np.zeros(NR_POINTS, np.int64), np.full(NR_POINTS, "")
    facts = {"run": number, "point": number, "simulated_ns": rng.random(NR_POINTS), "failed": zeros.astype(bool)}
    columns = {name: facts.get(name, texts if kind == pa.string() else zeros) for name, kind in RUNS.items()}
    pq.write_table(pa.table({**columns, **of_axes}), out / "runs.parquet")
    names = [f"latency_{n:02}" for n in range(NR_RESPONSES)]
    values = {
        "run": np.repeat(number, NR_RESPONSES),
        "point": np.repeat(number, NR_RESPONSES),
        "replication": np.zeros(NR_POINTS * NR_RESPONSES, np.int64),
        "batch": np.full(NR_POINTS * NR_RESPONSES, -1),
        "response": np.tile(np.array(names), NR_POINTS),
        "unit": np.full(NR_POINTS * NR_RESPONSES, "ns"),
        "value": rng.lognormal(5, 0.2, NR_POINTS * NR_RESPONSES),
        "failed_share": np.zeros(NR_POINTS * NR_RESPONSES),
        "model_error": np.zeros(NR_POINTS * NR_RESPONSES),
    }
    pq.write_table(pa.table({name: values[name] for name in TABLES["responses"]}), out / "responses.parquet")
    axes = [
        {"name": name, "levels": of, "values": [float(label) for label in of], "unit": ""}
        for name, of in zip("ab", levels, strict=True)
    ]
    design = {"schema_version": SCHEMA_VERSION, "name": "large", "seed": 1, "axes": axes, "dropped": [], "files": {}}
    (out / "design.json").write_text(json.dumps(design))
    facts = {"name": "large", "seed": 1, "versions": {}, "python": "3", "host": {}, "model": "0", "nr_dropped": 0}
    facts |= {"schema_version": SCHEMA_VERSION, "nr_points": NR_POINTS}
    (out / "provenance.json").write_text(json.dumps(facts))
    responses = ", ".join(f"{{name: {name}, measure: latency_mean}}" for name in names)
    (out / "study.yaml").write_text(STUDY % responses)
    seal(out, sorted(path.name for path in out.iterdir() if path.is_file()))


@pytest.mark.slow
def test_a_hundred_thousand_points_are_looked_at_with_little_work_in_two_gibibytes(tmp_path: Path) -> None:
    large_study(tmp_path / "out")
    command = [sys.executable, "-c", LOADED, str(tmp_path / "out"), str(tmp_path / "line.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert (tmp_path / "line.png").stat().st_size > 10_000
    assert found["rows"] == NR_POINTS * NR_RESPONSES
    assert found["cpu_seconds"] < LITTLE_WORK_S
    assert found["peak_bytes"] < BYTES_MAX
