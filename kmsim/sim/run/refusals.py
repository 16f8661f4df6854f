"""How a run refuses what a state's files hold: as the config door does, with the file as the place.

Leaves out the config itself, which its door has accepted.
"""

from typing import NoReturn

from kmsim.config.errors import ConfigError, Problem

# What must hold of a state's files, by the rule that is broken.
MUST = {
    "state_recording": "be a recording of a real kernel",
    "state_moment": "have the section {section} and the moment {moment}, with its free lists",
    "state_machine": "be of a machine with {name} {value}",
    "state_sound": "be a consistent state",
    "state_buddyinfo": "be the buddyinfo of a machine with these zones, orders and memory",
    "state_free_lists": "be free lists that this machine can have",
    "state_pagetypeinfo": "be the pagetypeinfo of a machine with these zones, orders and memory",
    "state_filled": "leave free what the watermarks keep",
    "state_index": "be an index that this machine can have",
    "state_file": "be a file that can be read",
}
HERE = "config"  # the place of a problem that is in no file of a state


def problem(rule: str, path: str, key: str, found: str, *, line: int | None = None, **context: object) -> Problem:
    """A broken rule of `MUST`, in a state's file."""
    return Problem(rule, path, line, key, MUST[rule].format(**context), found)


def refuse(rule: str, path: str, key: str, found: str, *, line: int | None = None, **context: object) -> NoReturn:
    """Raise the ConfigError of one broken rule."""
    raise ConfigError([problem(rule, path, key, found, line=line, **context)]) from None
