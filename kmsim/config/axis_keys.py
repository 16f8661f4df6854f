"""Whether the keys that axes move are there: each step of a dotted name against the models.

Only machine, costs, workload and run can be moved: the rest of a study is not a run's. Leaves out: whether a
key takes the value, which the door says of each point.
"""

from collections.abc import Iterator

from kmsim.config.axes import AxisConfig
from kmsim.config.errors import nearest
from kmsim.config.inquiry import SweepConfig
from kmsim.config.node import Loc, shown
from kmsim.config.overrides import is_key, key_steps
from kmsim.config.quantities import Finding, finding
from kmsim.config.study import Study
from kmsim.config.validation import legal_keys

RUN_KEYS = ("machine", "costs", "workload", "run")


def key_findings(sweep: SweepConfig) -> Iterator[Finding]:
    """Which keys of a sweep's axes there are not, where the axes name them."""
    for n, axis in enumerate(sweep.axes):
        for loc, key in _keys(axis):
            found = _finding(key)
            if found is not None:
                yield found._replace(loc=("sweep", "axes", n, *loc))


def _keys(axis: AxisConfig) -> Iterator[tuple[Loc, str]]:
    """Where an axis names keys."""
    if axis.key is not None:
        yield ("key",), axis.key
    yield from ((("zip", key), key) for key in axis.zip or ())
    for label, variant in (axis.variants or {}).items():
        yield from ((("variants", label, key), key) for key in variant or () if key != "extends")
    sample = axis.latin_hypercube or axis.sobol
    if sample is not None:
        yield from (((str(axis.way), "over", key), key) for key in sample.over)


def _finding(key: str) -> Finding | None:
    if not is_key(key):
        return finding((), "axis_key", found=shown(key))
    done: list[str | int] = []
    for step in key_steps(key):
        if isinstance(step, str):
            legal = legal_keys(Study, tuple(done)) if done else list(RUN_KEYS)
            if legal and step not in legal:
                keys = ", ".join(legal)
                return finding((), "unknown_key", found=shown(step), near=nearest(step, legal), keys=keys)
        done.append(step)
    return None
