"""Measures the times of `kmsim.study.compiled_once`: `python -m tests.compile_times`.

To be run on a machine that does nothing else. Each kind of config is run with an empty cache, as a user would; its
`timing.json` has the seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from kmsim.config import from_mapping
from kmsim.study.compiled_once import kind_of
from tests.studies import mapping

SLAB = {"cache": "skbuff_head_cache"}
REQUESTS = {
    "pages": [{"order": 0}],
    "lists": [{"order": 0}, {"api": "exact", "bytes": "9KiB"}],
    "slabs": [SLAB],
    "slabs and lists": [SLAB, {"api": "exact", "bytes": "9KiB"}],
    "vmalloc": [{"api": "vmalloc", "bytes": "9KiB"}],
}
AGED = {"aged": {"order": 9, "unusable_index": 0.5}}
FILLED = {"filled": {"page_cache": "40%"}}


def main() -> None:
    """Print a line for each kind, and for pages on a machine that was aged, and on one whose memory is in use."""
    for name, state in [*((name, "fresh") for name in REQUESTS), ("pages", AGED), ("pages", FILLED)]:
        thread = {"operations": 40, "live": 4, "requests": REQUESTS[name]}
        config = mapping(thread, state=state, memory="64MiB")
        with TemporaryDirectory() as folder:
            (Path(folder) / "one.json").write_text(json.dumps(config))
            command = [sys.executable, "-m", "kmsim", "run", "one.json", "--out", "out", "--quiet"]
            environment = os.environ | {"KMSIM_CACHE_DIR": f"{folder}/cache", "PYTHONPATH": os.getcwd()}
            subprocess.run(command, cwd=folder, env=environment, check=True)
            timing = json.loads((Path(folder) / "out" / "timing.json").read_text())
        print(f"{kind_of(from_mapping(config)):30} {timing['compile_s']:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
