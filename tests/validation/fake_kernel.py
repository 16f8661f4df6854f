"""A kernel source tree of a few small files, in which every hook of the recorder finds its place."""

from pathlib import Path

from tests.validation.recorder import hooks, tree


def function(name: str, lines: list[str]) -> str:
    """A function in the kernel's style, after its declaration and a call that looks like it."""
    inner = "".join(f"\t{line}\n" if not line.endswith(":") else f"{line}\n" for line in lines)
    head = f"int {name}(int a,\n\t\tint b)"
    return f"{head};\n\nstatic {head}\n{{\n\tint c;\n\n{inner}\treturn {name}(a, b);\n}}\n\n"


def fake_file(file: str) -> str:
    """A file of mm/ that has the functions that hooks are in, each with the lines that they look for."""
    names = dict.fromkeys(hook.function for hook in hooks.HOOKS if hook.file == file)
    text = '#include "internal.h"\n\n'
    for name in names:
        anchors = [hook.anchor for hook in hooks.HOOKS if (hook.file, hook.function) == (file, name) and hook.anchor]
        text += function(name, [anchor if anchor.endswith(":") else f"x({anchor});" for anchor in anchors])
    return text


def fake_source(folder: Path, release: str = "6.12") -> Path:
    """A kernel source tree of a few small files."""
    version, patchlevel = release.split(".")
    files = {
        "Makefile": f"# SPDX\nVERSION = {version}\nPATCHLEVEL = {patchlevel}\nSUBLEVEL = 7\n",
        "MAINTAINERS": "",
        "mm/Makefile": "obj-y += page_alloc.o\n",
        "mm/page_alloc.c": "",
        "include/linux/mm.h": "",
        tree.ARM_KCONFIG: 'config ARCH_FORCE_MAX_ORDER\n\tint\n\tdefault "10"\n',
        ".git/config": "",
        **{f"mm/{name}": fake_file(name) for name in hooks.HOOKED_FILES},
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "include" / "again").symlink_to("linux")
    return folder
