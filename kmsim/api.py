"""kmsim from Python: `run` a config, `load` a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmsim.config import Study
    from kmsim.sim.simulation import UserProcess
    from kmsim.study.runner import Progress
    from kmsim.study.store import Result


def study_of(config: str | Path | Mapping[str, Any] | Study) -> Study:
    """The resolved study of a config file, of a mapping with the same keys, or of a study."""
    from kmsim.config import Study, from_mapping
    from kmsim.config import load as load_config

    if isinstance(config, Study):
        return config
    if isinstance(config, str | Path):
        return load_config(config)
    return from_mapping(config)


def run(
    config: str | Path | Mapping[str, Any] | Study,
    out: str | Path | None = None,
    progress: Progress | None = None,
    processes: Sequence[UserProcess] = (),
) -> Result:
    """Simulate a config and return its tables as DataFrames; with `out`, also write them and the figures there.

    `processes` are SimPy processes of your own that run beside those of the config: generator
    functions that take the simulation (`simulation.env`, `simulation.cpus`); see `kmsim.sim.cpu`. The
    run waits for them; one without end is started by another: `simulation.env.process(...)`.
    Raises `kmsim.config.ConfigError` where the config is wrong, `NotAResult` where `out` holds
    something else.
    """
    from kmsim.plots.figures import draw_all
    from kmsim.study.runner import run_study, say_nothing

    folder = None if out is None else Path(out)
    return run_study(study_of(config), folder, progress or say_nothing, draw_all, processes)


def load(path: str | Path) -> Result:
    """Read a result folder; raises `kmsim.study.store.NotAResult`."""
    from kmsim.study.store import load as load_result

    return load_result(path)
