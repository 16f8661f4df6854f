"""configs/README.md documents every key with its default, and no key that is not there."""

import re
from typing import Any

import pytest
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from kmsim.config import (
    arrivals,
    axes,
    caches,
    costs,
    distributions,
    free_lists,
    inquiry,
    machine,
    memory_map,
    memory_policy,
    node_layout,
    phases,
    policies,
    requests,
    responses,
    schema,
    sizes,
    slab,
    state,
    study,
    sysctl,
    workload,
)
from kmsim.config.design import design_of
from kmsim.config.door import loads
from kmsim.config.errors import ConfigError
from kmsim.config.quantities import Model, WithOptions
from kmsim.config.shipped import configs_folder
from kmsim.config.validation import DOOR_KEYS

ROW = re.compile(r"^\| `(\w+)` \|\s*(.*?)\s*\|", re.MULTILINE)
SECTIONS: dict[str, list[type[Model]]] = {
    "study": [study.Study, inquiry.Inquiry],
    "sweep": [inquiry.SweepConfig],
    "sweep.axes[]": [axes.AxisConfig],
    "axes[].range": [axes.RangeConfig],
    "axes[].log": [axes.LogConfig],
    "axes[].latin_hypercube, axes[].sobol": [axes.SampleConfig],
    "over.KEY": [axes.BetweenConfig],
    "sweep.drop[]": [inquiry.DropConfig],
    "where.AXIS": [inquiry.Bounds],
    "replications": [inquiry.ReplicationsConfig],
    "replications.until": [inquiry.UntilConfig],
    "responses[]": [responses.ResponseConfig],
    "comparisons[]": [inquiry.ComparisonConfig],
    "figures": [inquiry.FiguresConfig],
    "figures[]": [inquiry.FigureConfig],
    "machine": [machine.MachineConfig],
    "machine.policies": [policies.PoliciesConfig],
    "policies.POLICY": [policies.PolicyFile],
    "machine.nodes[]": [node_layout.NodeConfig],
    "machine.thp": [machine.ThpConfig],
    "machine.pcp": [machine.PcpConfig],
    "machine.slab": [slab.SlabConfig],
    "machine.caches[]": [caches.CacheConfig],
    "machine.vmalloc": [slab.VmallocConfig],
    "machine.memory_map[]": [memory_map.MemoryRange],
    "machine.reserved[], machine.released[]": [memory_map.ReservedRange],
    "machine.sysctl": [sysctl.SysctlConfig],
    "machine.zone_ends": [memory_map.ZoneEnds],
    "machine.state": [state.Recorded, state.BuddyInfo, state.FreeLists, state.Aged, state.Filled],
    "machine.state.free_lists[]": [free_lists.ZoneLists],
    "free_lists[].free": [free_lists.FreeByType],
    "free_lists[].pageblocks": [free_lists.PageblocksByType],
    "free_lists[].watermarks": [free_lists.Watermarks],
    "machine.state.aged": [state.AgedTarget],
    "machine.state.filled": [state.FilledShares],
    "machine.state.filled.processes[]": [state.ProcessShare],
    "costs": [costs.CostsConfig],
    "costs.*": [costs.Price, costs.Count],
    "costs.left_out[]": [costs.LeftOut],
    "workload": [workload.WorkloadConfig],
    "workload.threads[]": [workload.ThreadConfig],
    "workload.threads[].memory_policy": [memory_policy.MemoryPolicyConfig],
    "workload.threads[].think, lifetime": [
        distributions.Constant,
        distributions.Exponential,
        distributions.Uniform,
        distributions.Lognormal,
        distributions.Pareto,
    ],
    "think.uniform": [distributions.Span],
    "think.lognormal": [distributions.LognormalShape],
    "think.pareto": [distributions.ParetoShape],
    "workload.threads[].arrivals": [arrivals.Steady, arrivals.Poisson, arrivals.Bursts, arrivals.OnOff],
    "arrivals.bursts": [arrivals.BurstShape],
    "arrivals.on_off": [arrivals.OnOffShape],
    "workload.threads[].requests[]": [requests.RequestConfig],
    "requests[].bytes": [
        sizes.ConstantSize,
        sizes.ExponentialSize,
        sizes.UniformSize,
        sizes.LognormalSize,
        sizes.ParetoSize,
        sizes.TableOfSizes,
    ],
    "bytes.uniform": [sizes.SizeSpan],
    "bytes.lognormal": [sizes.LognormalSizeShape],
    "bytes.pareto": [sizes.ParetoSizeShape],
    "bytes.table[]": [sizes.WeightedSize],
    "workload.threads[].phases[]": [phases.PhaseConfig],
    "workload.interrupts[]": [workload.InterruptConfig],
    "workload.drains[]": [workload.DrainConfig],
    "run": [study.RunConfig],
}
MEASURES_TITLE = "responses[].measure"
# The door fills these in before the models see them, and a list of all responses is no default to be spelt.
DEFAULT_BY_DOOR = {
    **dict.fromkeys([("study", "name"), ("study", "costs"), ("study", "responses")], "derived"),
    ("machine", "policies_of"): "derived",
}


def documented() -> dict[str, dict[str, str]]:
    sections = re.split(r"^### ", readme(), flags=re.MULTILINE)[1:]
    rows = {part.partition("\n")[0]: ROW.findall(part) for part in sections}
    return {title: dict(found) for title, found in rows.items()}


def spelt(value: Any) -> str:
    """A default as the resolved config spells it; empty for a mapping, whose keys have their own."""
    if isinstance(value, Model):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return f"`{value['constant']}`" if "constant" in value else ""
    if value is None or value in ([], (), ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def default_of(title: str, model: type[Model], key: str) -> str:
    field = model.model_fields[key]
    if (title, key) in DEFAULT_BY_DOOR:
        return DEFAULT_BY_DOOR[title, key]
    if field.default_factory is not None:
        return "derived"
    if field.default is PydanticUndefined:
        return "required"
    if key in ("state", "requests"):
        return {"state": "`fresh`", "requests": ""}[key]
    others = dict.fromkeys(model.model_fields)
    alone = model.model_construct(**{**others, key: field.default})
    dumped = alone.model_dump(mode="json", include={key}, warnings=False)
    return spelt(dumped[key])


def readme() -> str:
    return (configs_folder() / "README.md").read_text(encoding="utf-8")


def test_the_examples_load() -> None:
    example, study_example = re.findall(r"^```yaml\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    assert loads(example).machine.name == "x86-laptop"
    design = design_of(YAML(typ="safe", pure=True).load(study_example))
    assert (len(design.points), len(design.dropped), design.nr_runs) == (5, 1, 25)


def test_the_example_messages_are_what_the_door_says() -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    text = "\n" * 6 + EXAMPLE_WITH_MISTAKES
    with pytest.raises(ConfigError) as refused:
        loads(text, sets=["machine.cpus=0"], name="study.yaml")
    assert sorted(str(refused.value).splitlines()) == sorted(shown.splitlines())


EXAMPLE_WITH_MISTAKES = """\
machine: x86-laptop
workload:
  threads:
    - name: churn
      operations: 20000
      think: 2 parsecs

      thnk: 2us
"""


def test_every_noun_has_its_section() -> None:
    assert set(documented()) == {*SECTIONS, MEASURES_TITLE}


def test_the_table_of_measures_is_the_code_s() -> None:
    section = readme().partition(f"### {MEASURES_TITLE}\n")[2].partition("\n### ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    told = [
        (measure.unit, measure.meaning, measure.worse, kinds_of(measure), measure.filters)
        for measure in responses.MEASURES.values()
    ]
    assert [row[0] for row in rows] == [f"`{name}`" for name in responses.MEASURES]
    assert [(*row[1:5], tuple(re.findall(r"`(\w+)`", row[5]))) for row in rows] == told


def kinds_of(measure: responses.Measure) -> str:
    """The kinds of operations that a measure can be about, first the one where none is said."""
    if not measure.kinds:
        return ""
    first = "both" if measure.kind is None else f"`{measure.kind}`"
    others = ", ".join(f"`{kind}`" for kind in measure.kinds if kind != measure.kind)
    return f"{first}; {others}" if others else first


def test_the_responses_that_are_the_default_are_named() -> None:
    (row,) = [line for line in readme().splitlines() if line.startswith("| `responses` | derived |")]
    assert re.findall(r"`(\w+)`", row)[1:] == list(responses.DEFAULT_MEASURES)


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_lists_the_keys_of_its_noun_in_both_directions(title: str) -> None:
    keys = {spelt_key(model, key) for model in SECTIONS[title] for key in model.model_fields}
    keys |= {key for model in SECTIONS[title] for key in DOOR_KEYS.get(model.__name__, ())}
    assert set(documented()[title]) == keys


@pytest.mark.parametrize("title", SECTIONS)
def test_a_documented_default_is_the_default(title: str) -> None:
    rows = documented()[title]
    for model in SECTIONS[title]:
        for key in model.model_fields:
            assert rows[spelt_key(model, key)] == default_of(title, model, key), key


def spelt_key(model: type[Model], key: str) -> str:
    return model.model_fields[key].alias or key


def test_the_models_of_all_nouns_are_covered() -> None:
    covered = {model for models in SECTIONS.values() for model in models} | {
        state.Fresh,
        memory_map.MemoryRange,
        distributions.Immediate,
        distributions.Immortal,
        WithOptions,
        workload.SourceConfig,
        schema.StudyFile,
    }
    assert set(all_models(Model)) == covered


def all_models(base: type[Model]) -> list[type[Model]]:
    found = base.__subclasses__()
    return found + [deeper for model in found for deeper in all_models(model)]
