"""Which runs are the same run."""

from pathlib import Path

import pytest

from kmsim.study import identity
from kmsim.study.identity import IDENTITY, identity_of
from kmsim.study.store import NotAResult
from tests.studies import study
from tests.test_layering import PACKAGE, imported


def test_an_identity_is_32_hexadecimal_digits_and_stays() -> None:
    assert IDENTITY.fullmatch(identity_of(study()))
    assert identity_of(study()) == identity_of(study())


def test_what_a_study_is_called_does_not_matter() -> None:
    assert identity_of(study().model_copy(update={"name": "other"})) == identity_of(study())


@pytest.mark.parametrize("other", [{"seed": 2}, {"cpus": 1}, {"run": {"sample_every": "2ms"}}], ids=str)
def test_what_decides_the_run_does(other: dict[str, object]) -> None:
    assert identity_of(study(**other)) != identity_of(study())


@pytest.mark.parametrize("name", ["model_hash", "version"])
def test_another_model_or_package_makes_other_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity_of(study())
    identity._place.cache_clear()
    monkeypatch.setattr(identity, name, lambda *_: "another")
    after = identity_of(study())
    identity._place.cache_clear()
    assert after != before


def test_the_content_of_a_state_matters_not_its_place_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.json.gz"
    file.write_bytes(b"one")
    recorded = study(state={"recorded": str(file)})
    before = identity_of(recorded)
    file.write_bytes(b"two")
    assert identity_of(recorded) != before
    file.unlink()
    with pytest.raises(NotAResult, match="must be a file that can be read; No such file"):
        identity_of(recorded)


def test_every_module_that_makes_a_result_is_part_of_the_identity() -> None:
    found, waiting = set(), ["simulate"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            source = (PACKAGE / "study" / f"{name}.py").read_text(encoding="utf-8")
            modules = [module.split(".") for module in imported(source, "kmsim.study")]
            waiting += [parts[2] for parts in modules if parts[:2] == ["kmsim", "study"]]
    # What only says who compiles decides no byte.
    assert {f"{name}.py" for name in found - {"compiled_once"}} == set(identity._TABLES)
