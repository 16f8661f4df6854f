"""The files that a config puts in place of the package's policies: read, held against their hashes, and run.

What runs here is code of the user's own. It is asked for where a machine is made, and nowhere else: neither the
config nor results are read with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kmsim.config.errors import ConfigError
from kmsim.config.machine import MachineConfig
from kmsim.config.policies import problems_of
from kmsim.jit_policies import Policies, PolicyError
from kmsim.jit_policy_error import blamed


def policies_of(config: MachineConfig) -> Policies | None:
    """The files in place of the package's policies; ConfigError where one cannot be, or is another than it was."""
    if config.policies is None:
        return None
    files = config.policies.files
    with as_refusal():
        return Policies(
            {noun: policy.file for noun, policy in files.items()},
            {noun: policy.sha256 for noun, policy in files.items()},
        )


def facts_of(config: MachineConfig) -> dict[str, dict[str, str]]:
    """What the provenance of a run says of each file, by the policy: path, SHA-256 and text. ConfigError as above."""
    policies = policies_of(config)
    if config.policies is None or policies is None:
        return {}
    return {
        noun: {"file": str(one.file), "sha256": one.sha256, "text": policies.sources[noun].decode("utf-8", "replace")}
        for noun, one in config.policies.files.items()
    }


@contextmanager
def as_refusal() -> Iterator[None]:
    """What is wrong with a policy's file is refused as the config door refuses."""
    try:
        yield
    except PolicyError as error:
        raise ConfigError(problems_of(str(error.file), error.mistakes)) from error


def check_outside(config: MachineConfig, error: Exception, when: str) -> None:
    """ConfigError where an error of a run is a policy's file's: where there is such a file, all but the system's are.

    The package's own assertions are among them: that memory is whole holds of the package's policies, and it is a file
    in place of one that has to keep it.
    """
    if config.policies is None or isinstance(error, ConfigError | OSError | MemoryError):
        return
    policies = policies_of(config)
    assert policies is not None
    found = blamed(policies, error, when)
    raise ConfigError(problems_of(str(found.file), [found.mistake])) from error
