"""From what the models refuse to what a user reads: pydantic's errors and our findings as problems.

Our own types refuse by rule (``quantities.refused``); of pydantic's own error types only those listed
here can occur, and any other is a mistake of ours.
"""

import re
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kmsim.config.errors import nearest
from kmsim.config.inquiry import Inquiry
from kmsim.config.node import Loc, Node, Place, Problems, described, shown
from kmsim.config.quantities import Finding, Model

# Keys that the door understands and that are gone after it.
DOOR_KEYS = {
    "Study": ("extends", *Inquiry.model_fields),
    "MachineConfig": ("extends", "MAX_ORDER", "written_for"),
    "CostsConfig": ("extends",),
}

_RULE_OF = {
    "missing": "required",
    "extra_forbidden": "unknown_key",
    "model_type": "type_mapping",
    "dict_type": "type_mapping",
    "tuple_type": "type_list",
    "too_long": "items_most",
    "int_type": "type_int",
    "float_type": "type_number",
    "bool_type": "type_bool",
    "finite_number": "finite",
    "greater_than_equal": "at_least",
    "less_than_equal": "at_most",
    "greater_than": "above",
    "literal_error": "one_of",
}


def locate(node: Node, loc: Loc) -> tuple[Place, Loc, Node | None]:
    """Where a location stands, what it is called in the user's file, and what is there.

    Steps that start with ``~`` are pydantic's names for the variants of a union and not the user's;
    a scalar that stands for a whole mapping ends the walk.
    """
    steps: list[str | int] = []
    place, here = node.place, node
    for n, step in enumerate(loc):
        if isinstance(step, str) and step.startswith("~"):
            continue
        if isinstance(step, int) and step < len(here.items):
            here = here.items[step]
        elif isinstance(step, str) and step in here.keys:
            here = here.keys[step]
        elif isinstance(here.value, dict):
            return place, (*steps, *loc[n:]), None
        else:
            break
        steps.append(step)
        place = here.place
    return place, tuple(steps), here


def add_errors(error: ValidationError, kind: type[Model], node: Node, problems: Problems) -> None:
    """Note everything that a model refused."""
    for detail in error.errors(include_url=False):
        if detail["type"] != "default_factory_not_called":  # it follows from another error
            _add(detail, kind, node, problems)


def _add(detail: ErrorDetails, kind: type[Model], node: Node, problems: Problems) -> None:
    loc: Loc = tuple(detail["loc"])
    place, key, here = locate(node, loc)
    context: dict[str, Any] = detail.get("ctx", {})
    found = described(here) if here is not None else ""
    if detail["type"] == "kmsim":
        problems.add(context["rule"], place, key, found, context["near"], **context["context"])
        return
    rule = _RULE_OF.get(detail["type"])
    assert rule is not None, f"pydantic says {detail['type']} at {loc}, for which there is no rule"
    if rule == "unknown_key":
        legal = legal_keys(kind, loc[:-1])
        name = str(loc[-1])
        problems.add(rule, place, key, shown(name), nearest(name, legal), keys=", ".join(legal))
    elif rule == "one_of":
        choices = re.findall(r"'([^']*)'", context["expected"])
        near = nearest(str(here.value), choices) if here is not None else ""
        problems.add(rule, place, key, found, near, choices=", ".join(choices))
    else:
        limit = next((context[name] for name in ("ge", "le", "gt", "max_length") if name in context), "")
        spelt = f"{limit:g}" if isinstance(limit, float) else limit
        problems.add(rule, place, key, found, limit=spelt)


def add_finding(finding: Finding, node: Node, problems: Problems) -> None:
    """Note a rule broken between keys."""
    place, key, here = locate(node, finding.loc)
    found = finding.found
    if found is None:
        found = described(here) if here is not None else ""
    problems.add(finding.rule, place, key, found, finding.near, **finding.context)


def legal_keys(kind: type[Model], loc: Loc) -> list[str]:
    """The keys that the noun at a location has."""
    kinds, is_free = [kind], False  # is the next step a key of the user's own?
    for step in loc:
        if isinstance(step, str) and step.startswith("~"):
            kinds = [variant for variant in kinds if step[1:] in variant.model_fields]
        elif isinstance(step, str) and not is_free:
            fields = [variant.model_fields[step] for variant in kinds if step in variant.model_fields]
            kinds = [found for field in fields for found in models_in(field.annotation)]
            is_free = any(has_free_keys(field.annotation) for field in fields)
        elif isinstance(step, str):
            is_free = False
    return [name for found in kinds for name in (*_names(found), *DOOR_KEYS.get(found.__name__, ()))]


def _names(kind: type[Model]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


def has_free_keys(annotation: Any) -> bool:
    """Does an annotation mean a mapping whose keys the user chooses?"""
    return get_origin(annotation) is dict or any(map(has_free_keys, get_args(annotation)))


def models_in(annotation: Any) -> list[type[Model]]:
    """The models that an annotation mentions, also inside tuples and unions."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [found for argument in get_args(annotation) for found in models_in(argument)]
