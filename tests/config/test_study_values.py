"""Whatever stands at a key of what a study asks, the door says so or makes a design: it never breaks."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kmsim.config import ConfigError, design_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["1GiB", "4KiB", "1us", "illegal", "latency_mean", "machine.cpus", "cpus", "9" * 30, "1e999"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PLACES = [
    "question", "sweep", "sweep.axes", "sweep.axes[0]", "sweep.axes[0].name", "sweep.axes[0].key",
    "sweep.axes[0].values",
    "sweep.axes[0].values[1]", "sweep.axes[1].range", "sweep.axes[1].range.from", "sweep.axes[1].range.to",
    "sweep.axes[1].range.step", "sweep.axes[2].log", "sweep.axes[2].log.from", "sweep.axes[2].log.to",
    "sweep.axes[2].log.count", "sweep.axes[3].zip", "sweep.axes[3].zip.x", "sweep.axes[4].variants",
    "sweep.axes[4].variants.a", "sweep.axes[4].variants.a.machine", "sweep.axes[4].variants.a.extends",
    "sweep.axes[5].latin_hypercube", "sweep.axes[5].latin_hypercube.count", "sweep.axes[5].latin_hypercube.over",
    "sweep.axes[5].latin_hypercube.over.x", "sweep.axes[5].latin_hypercube.seed", "sweep.only", "sweep.only.cpus",
    "sweep.drop", "sweep.drop[0]", "sweep.drop[0].where", "sweep.drop[0].where.cpus", "sweep.drop[0].where.cpus.below",
    "sweep.drop[0].because", "replications", "replications.number", "replications.until", "replications.until.response",
    "replications.until.half_width", "replications.until.at_most", "replications.random_numbers", "responses",
    "responses[0]", "responses[0].measure", "responses[0].order", "responses[0].block", "responses[0].gfp",
    "responses[0].name", "comparisons", "comparisons[0]", "comparisons[0].axis", "comparisons[0].baseline",
    "comparisons[0].where", "comparisons[0].responses", "comparisons[0].paired", "figures", "figures[0]",
    "figures[0].kind", "figures[0].x", "figures[0].where", "figures[0].where.cpus", "figures[0].size", "seed",
]  # fmt: skip


def study() -> dict[str, Any]:
    return {
        "machine": "x86-laptop",
        "workload": {"threads": [{"name": "a", "operations": 10}]},
        "sweep": {
            "axes": [
                {"name": "cpus", "key": "machine.cpus", "values": [1, 2]},
                {"key": "run.validate_every", "range": {"from": 1, "to": 2, "step": 1}},
                {"key": "workload.threads[0].live", "log": {"from": 1, "to": 10, "count": 2}},
                {"zip": {"machine.check_pages": [True], "machine.pcp.auto_tune": [False]}},
                {"name": "v", "variants": {"a": {}}},
                {"latin_hypercube": {"count": 1, "over": {"machine.timeslice": {"low": "1ms", "high": "9ms"}}}},
            ],
            "only": {},
            "drop": [{"where": {"cpus": {"below": 1}}, "because": "so"}],
        },
        # So often that there may be 100 points at most: no value makes a design that takes long.
        "replications": {"until": {"response": "latency_mean", "half_width": 0.1, "at_most": 10_000}},
        "responses": [{"measure": "latency_mean"}],
        "comparisons": [{"axis": "cpus"}],
        "figures": [{"kind": "line", "where": {}}],
    }


@given(st.sampled_from(PLACES), VALUES)
def test_any_value_at_any_key_of_a_study_is_a_design_or_a_config_error(place: str, value: object) -> None:
    config: Any = study()
    *steps, last = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", place)]
    inner = config
    for step in steps:
        inner = inner[step]
    inner[last] = value
    problems = ""
    try:
        assert design_of(config).points
    except ConfigError as error:
        problems = str(error)
    assert all(len(line) < 2000 for line in problems.splitlines())
