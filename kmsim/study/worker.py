"""A worker: a process of its own that runs what it is given, one run after another, until its parent is gone.

Started by `kmsim.study.executors`. It reads (key, study) from a socket that it was started with and answers
with (key, archive, error). It goes when the socket is closed and, because a run in compiled code does not look
at the socket, when its parent is another process than the one that started it: a killed parent leaves none.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from kmsim.config import ConfigError, Study
from kmsim.config.errors import Refused

Function = Callable[[Study], bytes]

PARENT_LOOKED_AT_EVERY_S = 0.5


def attempt(function: Function, study: Study) -> tuple[bytes | None, str]:
    """The archive of a run, or None and the traceback of what went wrong (Refused: what is to be changed)."""
    try:
        return function(study), ""
    except ConfigError as error:
        return None, Refused(error)
    except Exception:
        return None, traceback.format_exc()


def function_named(name: str) -> Function:
    """The function that is written MODULE:NAME."""
    module, _, attribute = name.partition(":")
    function: Function = getattr(importlib.import_module(module), attribute)
    return function


def main(descriptor: int, parent: int, name: str) -> None:
    """Work for a parent process."""
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    connection: Connection[Any, Any] = Connection(descriptor)
    try:
        function = function_named(name)
        while True:
            key, study = connection.recv()
            connection.send((key, *attempt(function, study)))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_LOOKED_AT_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
