"""``--set`` of a key whose parent the study leaves to its default."""

import pytest

from kmsim.config import Study, loads

STUDY = "machine: x86-laptop\nworkload: {threads: [{name: a}]}\n"


@pytest.mark.parametrize("costs", ["", "costs: xeon-gold-5320\n"], ids=["left to the default", "named"])
def test_a_price_is_set_also_where_the_list_is_the_default(costs: str) -> None:
    plain, changed = loads(STUDY), loads(STUDY + costs, sets=["costs.alloc_fast.value=7ns"])
    assert changed.costs.alloc_fast.value == 7000
    assert changed.costs.alloc_fast.source == plain.costs.alloc_fast.source
    assert without_price(changed) == without_price(plain)


def without_price(study: Study) -> object:
    return study.model_dump(exclude={"costs": {"alloc_fast"}})


def test_an_override_without_value_gives_the_default_again() -> None:
    assert loads(STUDY + "costs: graviton3\n", sets=["costs="]).costs == loads(STUDY).costs
    assert loads(STUDY + "name: mine\n", sets=["name="], name="x").name == "study"


def test_an_override_lays_another_list_over_the_default() -> None:
    changed = loads(STUDY, sets=["costs=graviton3", "costs.free_fast.value=9ns"])
    assert changed.costs.name == "graviton3"
    assert changed.costs.free_fast.value == 9000
