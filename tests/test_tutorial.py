"""docs/from-a-report.md shows what its three commands say, one after the other; README shows how the first begins."""

from pathlib import Path

import pytest

from tests.tutorial import DOCUMENT, README, beginning, said, shown


@pytest.mark.slow
def test_the_three_commands_say_what_is_shown(tmp_path: Path) -> None:
    commands = shown(DOCUMENT)
    assert [command.split()[1] for command in commands] == ["explain", "machine", "limits"]
    for command, output in commands.items():
        assert said(tmp_path, command) == output


@pytest.mark.slow
def test_readme_begins_an_explanation_as_it_is_said(tmp_path: Path) -> None:
    ((command, output),) = shown(README).items()
    assert beginning(said(tmp_path, command)) == output
    first_screen = README.read_text(encoding="utf-8").splitlines()[:24]
    assert f"$ {command}" in first_screen
