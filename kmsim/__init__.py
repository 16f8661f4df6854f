"""kmsim: a discrete-event simulator of how the Linux kernel allocates memory under concurrent load."""

from kmsim.api import load, run

__all__ = ["load", "run"]
