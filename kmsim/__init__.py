"""kmsim: a discrete-event simulator of how the Linux kernel allocates memory under concurrent load."""

from kmsim.api import figure, figures, load, run, walk

__all__ = ["__version__", "figure", "figures", "load", "run", "walk"]


def __getattr__(name: str) -> str:
    """`__version__`, looked up when somebody asks."""
    if name == "__version__":
        from importlib.metadata import version

        return version("kmsim")
    raise AttributeError(f"module 'kmsim' has no attribute {name!r}")
