"""What `kmsim calibrate` does: fits the prices of a machine to what was measured on it, and says how well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from kmsim.session.console import compiling, stderr, stdout
from kmsim.units import PS_PER_NS

if TYPE_CHECKING:
    from kmsim.study.calibrate import Calibration, Compared

NINE_OF_TEN = 0.9


def calibrate_and_show(
    machine: str, costs: str, file: Path, hold_out: str | None, out: Path | None, *, as_json: bool
) -> None:
    """Fit, print prices and errors, and write the list; NotAResult or ConfigError where something cannot be."""
    from kmsim.config.asked import asked_file
    from kmsim.output import check_file, write_file
    from kmsim.study.calibrate import calibrate, name_of, price_list
    from kmsim.study.measured import held_out, read_points
    from kmsim.study.point_runs import PointRuns

    runs = PointRuns(
        *(
            str(asked_file(kind, name, command="calibrate", argument=argument).resolve())
            for kind, name, argument in (("machines", machine, "MACHINE"), ("costs", costs, "--costs"))
        )
    )
    points = read_points(file)
    held = held_out(points, hold_out) if hold_out is not None else [False] * len(points)
    if out is not None:
        check_file(out)

    def say(line: str) -> None:
        if not as_json:
            stderr.print(line, markup=False, soft_wrap=True)

    with compiling(quiet=as_json):
        found = calibrate(runs, points, held, say)
    if out is not None:
        write_file(out, price_list(found, name_of(out), str(file)).encode())
    if as_json:
        print(json.dumps(facts(found, str(file)), indent=2))
        return
    stdout.print(table_of_prices(found))
    for line in sums_of(found):
        stdout.print(line, markup=False, soft_wrap=True)
    stdout.print(table_of_points(found))
    for line in errors_of(found):
        stdout.print(line, markup=False, soft_wrap=True)
    if out is not None:
        stdout.print(f"written to {out}; a study names it as costs: {out}", markup=False, soft_wrap=True)


def facts(found: Calibration, source: str) -> dict[str, Any]:
    """The same for scripts; `source`: what was fitted to."""
    from kmsim.study.calibrate import source_of

    columns = ("workload", "order", "bytes", "cpus", "operation", "blocks", "gfp", "ns", "error_percent")
    points = [
        {
            **{name: getattr(one.point, name) for name in columns},
            "held_out": one.is_held_out,
            "simulated_ns": one.ns,
            "without_curve_ns": None if np.isnan(one.without_curve_ns) else one.without_curve_ns,
        }
        for one in found.points
    ]
    return {
        "costs": found.costs.name,
        "prices": [price._asdict() | {"source": source_of(price, source)} for price in found.prices],
        "kept": [
            {"name": name, "ns": price.value / PS_PER_NS, "source": price.source} for name, price in found.kept.items()
        ],
        "points": points,
        "findings": found.findings,
        "errors": {name: spread_of(errors) for name, errors in errors_by_name(found).items()},
    }


def table_of_prices(found: Calibration) -> Table:
    """Each fitted price, and how well it is known."""
    table = Table(title="fitted prices (ns)", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("price", no_wrap=True)
    for name in (found.costs.name, "fitted", "95 % interval"):
        table.add_column(escape(name), justify="right", no_wrap=True)
    table.add_column("known", no_wrap=True)
    for price in found.prices:
        interval = f"{price.low:.3g} to {price.high:.3g}"
        known = "no price" if price.bound else "in a sum" if price.partners else ""
        table.add_row(price.name, f"{price.start:.4g}", f"{price.ns:.4g}", interval, known)
    return table


def sums_of(found: Calibration) -> list[str]:
    """With which others a price is known."""
    return [f"{price.name}: only in a sum with {', '.join(price.partners)}" for price in found.prices if price.partners]


def table_of_points(found: Calibration) -> Table:
    """Each point, simulated with the fitted prices."""
    table = Table(title="points (ns)", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("curve", overflow="fold")
    for name in ("cpus", "measured", "simulated", "error", "without its curve"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.points:
        table.add_row(escape(one.point.curve), str(one.point.cpus), *_cells(one))
    return table


def _cells(one: Compared) -> tuple[str, ...]:
    last = "held out" if one.is_held_out else "" if np.isnan(one.without_curve_ns) else f"{one.left_out_percent:+.1f} %"
    return f"{one.point.ns:,.4g}", f"{one.ns:,.4g}", f"{one.error_percent:+.1f} %", last


def errors_by_name(found: Calibration) -> dict[str, list[float]]:
    """The sizes of the errors, in percent: of points fitted, held out, and predicted without their curves."""
    return {
        "fitted": [abs(one.error_percent) for one in found.points if not one.is_held_out],
        "held out": [abs(one.error_percent) for one in found.points if one.is_held_out],
        "without their curve": [
            abs(one.left_out_percent) for one in found.points if not np.isnan(one.without_curve_ns)
        ],
    }


def errors_of(found: Calibration) -> list[str]:
    """A line for each kind of points, and what the list leaves as it was."""
    lines = []
    for name, errors in errors_by_name(found).items():
        if errors:
            of = spread_of(errors)
            text = f"median error {of['median']:.1f} %, nine of ten within {of['nine_of_ten']:.1f} %"
            lines.append(f"{len(errors)} points {name}: {text}, worst {of['worst']:.1f} %")
    kept = f"{len(found.kept)} prices stay as in {found.costs.name}, which the points do not tell"
    return [*lines, f"{kept}: {', '.join(found.kept)}", *(f"finding: {line}" for line in found.findings)]


def spread_of(errors: list[float]) -> dict[str, float]:
    """Median, ninth tenth and worst of some errors; empty of none."""
    if not errors:
        return {}
    middle, most = np.quantile(errors, (0.5, NINE_OF_TEN))
    return {"median": float(middle), "nine_of_ten": float(most), "worst": max(errors)}
