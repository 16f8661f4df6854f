"""kmsim: a discrete-event simulator of how the Linux kernel allocates memory under concurrent load."""

from kmsim.api import figure, figures, load, run

__all__ = ["figure", "figures", "load", "run"]
