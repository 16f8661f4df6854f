"""Copies of policies from outside of the package, and which of their verbs a run asks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kmsim.jit_policies import Policies, verbs_of
from kmsim.mm.kernels import POLICIES

MM = Path(__file__).parents[2] / "kmsim" / "mm"


def copied(policy: str, folder: Path, change: Callable[[str], str] = str) -> Path:
    """A copy of the policy's file, outside of the package."""
    file = folder / f"{policy}.py"
    file.write_text(change((MM / f"{policy}.py").read_text()))
    return file


def copied_all(folder: Path) -> dict[str, Path]:
    """A copy of every policy's file, outside of the package."""
    return {policy: copied(policy, folder) for policy in POLICIES}


def all_verbs() -> set[str]:
    """Every verb of every policy, as POLICY.VERB; of an imported `Asked`."""
    return {f"{policy}.{name}" for policy in POLICIES for name in verbs_of(policy)}


class Asked(Policies):
    """Files in place of the package's policies that note which of their verbs plain Python calls."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Read the files; nothing is asked yet."""
        super().__init__(files)
        self.asked: set[str] = set()

    def find(self, policy: str, name: str) -> Callable[..., Any] | None:
        """The function in place of a policy's verb, which is about to be called."""
        self.asked.add(f"{policy}.{name}")
        return super().find(policy, name)
