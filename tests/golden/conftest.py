"""`--regen` stores what the studies come to as the new goldens."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option, which `pytest tests/golden --regen` knows."""
    parser.addoption("--regen", action="store_true", help="store what tests/golden/studies come to as new goldens")


@pytest.fixture
def regen(request: pytest.FixtureRequest) -> bool:
    """Are the goldens to be stored anew?"""
    return bool(request.config.getoption("--regen", default=False))
