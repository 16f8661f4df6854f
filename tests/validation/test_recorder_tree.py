"""The recorder's changes of a kernel source tree, on a small one: hooks, the driver, links."""

import os
from pathlib import Path

import pytest

from tests.validation.fake_kernel import fake_file, fake_source
from tests.validation.recorder import hooks, tree
from tests.validation.recorder.mistake import Mistake


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fake_source(tmp_path / "source")


@pytest.mark.parametrize("hook", hooks.HOOKS, ids=lambda hook: f"{hook.function}-{hook.anchor}")
def test_a_hook_stands_in_its_function_at_its_place(hook: hooks.Hook) -> None:
    lines = hooks.placed(hook, fake_file(hook.file)).splitlines()
    code = hook.code.split("\n")
    (first,) = (
        n
        for n in range(len(lines))
        if [line.strip() for line in lines[n : n + len(code)]] == [line.strip() for line in code]
    )
    name = next(line for line in reversed(lines[:first]) if line.startswith("static"))
    assert f" {hook.function}(" in name
    if hook.where == "enter":
        assert lines[first - 1] == "{"
    elif hook.where == "after":
        assert hook.anchor in lines[first - 1]
    else:
        assert hook.anchor in lines[first + len(code)]


def test_a_file_is_changed_by_its_hooks_only() -> None:
    for file in hooks.HOOKED_FILES:
        text = fake_file(file)
        changed = hooks.hooked(file, text).removeprefix(hooks.INCLUDE).removesuffix(hooks.APPENDED.get(file, ""))
        added = sum(len(hook.code.split("\n")) for hook in hooks.HOOKS if hook.file == file)
        assert len(changed.splitlines()) == len(text.splitlines()) + added
        kept = iter(changed.splitlines())
        assert all(line in kept for line in text.splitlines())  # in order


HOOK = hooks.Hook("vmscan.c", "f", "after", "scan(", "lab_ev('n', 1);")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("int g(void)\n{\n\tscan(1);\n}\n", "must define f() once; 0 definitions"),
        ("int f(void);\n", "must define f() once; 0 definitions"),
        (2 * "int f(void)\n{\n\tscan(1);\n}\n", "must define f() once; 2 definitions"),
        ("int f(void)\n{\n\treturn 1;\n}\nint g(void)\n{\n\tscan(1);\n}\n", "one line with 'scan('; 0 were found"),
        ("int f(void)\n{\n\tscan(1);\n\tscan(2);\n}\n", "one line with 'scan('; 2 were found"),
        ("int f(void)\n{\n\tscan(1,\n\t\t2);\n}\n", "must end a statement or be a label"),
    ],
)
def test_a_hook_without_one_place_is_refused(text: str, why: str) -> None:
    with pytest.raises(Mistake) as caught:
        hooks.placed(HOOK, text)
    assert str(caught.value).startswith("mm/vmscan.c: ")
    assert why in str(caught.value)


def test_hooks_quote_no_line_of_the_kernel() -> None:
    """A few letters of one line, never the whole of it."""
    assert max(len(hook.anchor) for hook in hooks.HOOKS) < 22
    assert not [hook for hook in hooks.HOOKS if "\n" in hook.anchor or hook.anchor.endswith(";")]
    assert all(bool(hook.anchor) == (hook.where != "enter") for hook in hooks.HOOKS)


# ---- the tree


def test_a_tree_has_the_driver_and_links_to_the_rest(source: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    made = tmp_path / "work" / "tree"
    tree.make_tree(source, made, "6.12")
    assert (made / "Makefile").readlink() == source / "Makefile"
    assert (made / "include" / "again" / "mm.h").exists()
    assert not (made / ".git").exists()
    assert (made / "mm" / "Makefile").read_text().splitlines()[-1] == "obj-y += lab.o"
    assert "lab_ev('K'" in (made / "mm" / "vmscan.c").read_text()
    assert '\tint "largest order"\n' in (made / tree.ARM_KCONFIG).read_text()
    assert {path.name for path in (made / "mm").glob("lab*")} == {"lab.c", "lab.h", "lab_pressure.c"}
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_a_tree_made_again_is_not_touched(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "work" / "tree"
    tree.make_tree(source, made, "6.12")
    for path in made.rglob("*"):
        os.utime(path, ns=(1, 1), follow_symlinks=False)
    tree.make_tree(source, made, "6.12")
    assert {path.lstat().st_mtime_ns for path in made.rglob("*") if not path.is_dir()} == {1}


def test_a_tree_of_another_source_is_refused(source: Path, tmp_path: Path) -> None:
    tree.make_tree(source, tmp_path / "work" / "tree", "6.12")
    other = fake_source(tmp_path / "other")
    with pytest.raises(Mistake, match="--work: must be a folder of one kernel tree"):
        tree.make_tree(other, tmp_path / "work" / "tree", "6.12")


def test_other_releases_have_no_hooks_and_sheaves_have_a_reader(source: Path) -> None:
    (source / "mm" / "slub.c").write_text(f"{tree.SHEAVES}\n}};\n")
    texts = tree.changes(source, "7.3")
    assert set(texts) == {"mm/lab.c", "mm/Makefile", "mm/slub.c", tree.ARM_KCONFIG}
    assert "void lab_slub_state(" in texts["mm/slub.c"]


def test_lines_behind_a_label_are_indented_as_what_follows_it() -> None:
    """Or the compiler warns that an `if` looks as if it guarded the next line."""
    hook = hooks.Hook("vmscan.c", "f", "after", "keep:", "if (a)\n\tb();")
    text = "int f(void)\n{\n\twhile (1) {\nkeep:\n\t\tc();\n\t}\n}\n"
    assert "keep:\n\t\tif (a)\n\t\t\tb();\n\t\tc();\n" in hooks.placed(hook, text)
