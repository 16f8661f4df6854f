"""`kmsim validate`: recordings against the simulator, or two recordings against each other."""

from __future__ import annotations

import json
import time
from pathlib import Path

from kmsim.session.console import compiling, stdout


def validate_paths(paths: list[Path], *, as_json: bool) -> bool:
    """Validate recordings and print what came of each; whether something was scored, and all of it agrees."""
    from kmsim.plots.validation import print_report, print_total
    from kmsim.validate.files import validate_files

    start = time.perf_counter()
    reports = []
    with compiling(quiet=as_json):
        for report in validate_files(paths):
            reports.append(report)
            if not as_json:
                print_report(report, stdout)
    if as_json:
        print(json.dumps({report.path: report.as_dict() for report in reports}, indent=2))
    else:
        print_total(reports, time.perf_counter() - start, stdout)
    is_scored = any(section.rows for report in reports for section in report.sections)
    return is_scored and all(report.agrees for report in reports)


def compare_recordings(first: Path, others: list[Path], *, as_json: bool) -> bool:
    """Print where two recordings differ, and the policies that each agrees with; whether no row differs."""
    from kmsim.config import ConfigError
    from kmsim.config.asked import refused
    from kmsim.plots.validation import print_agreements, print_differences
    from kmsim.validate.against import agreements, differences
    from kmsim.validate.files import recording_in

    if len(others) != 1:
        raise ConfigError([refused("comes_with", str(first), "validate", "--against", what="one other RECORDING")])
    paths = [first, others[0]]
    recordings = [recording_in(path) for path in paths]
    found = differences(*recordings)
    with compiling(quiet=as_json):
        agreeing = [agreements(recording) for recording in recordings]
    if as_json:
        by_path = {str(path): [each._asdict() for each in of] for path, of in zip(paths, agreeing, strict=True)}
        print(json.dumps({"differences": [each._asdict() for each in found], "policies": by_path}, indent=2))
    else:
        print_differences(paths, found, stdout)
        for path, of in zip(paths, agreeing, strict=True):
            print_agreements(path, of, stdout)
    return not any(difference.differing for difference in found)
