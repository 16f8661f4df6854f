"""The commands that answer a question at once, without a run; no logic. `cli` makes them commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from kmsim.output import named_file, named_input
from kmsim.session.options import GFP_ASKED, Json, Machine, Sets, State, state_as_written, state_sets

questions = typer.Typer()


@questions.command()
def limits(
    machine: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            help="A shipped machine or a file; else the kmalloc limit by page size and MAX_ORDER.", metavar="MACHINE"
        ),
    ] = None,
    gfp: Annotated[str, typer.Option(help="The GFP flags of the request.")] = GFP_ASKED,
    state: State = None,
    json: Json = False,
) -> None:
    """How much memory can one request get? The limit of kmalloc, alloc_pages, vmalloc, kvmalloc, and what sets it."""
    from kmsim.session.questions import show_limits

    with state_as_written(state):
        show_limits(machine, state_sets(state), gfp, as_json=json)


@questions.command()
def waste(
    sizes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="Sizes in bytes, or such as 33KiB: how much is wasted?", metavar="SIZE..."),
    ] = None,
    machine: Machine = "x86-laptop",
    state: State = None,
    first: Annotated[Optional[str], typer.Option("--from", metavar="SIZE", help="All sizes from here,")] = None,  # noqa: UP045
    last: Annotated[Optional[str], typer.Option("--to", metavar="SIZE", help="to here,")] = None,  # noqa: UP045
    step: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="SIZE", help="each so much larger; if not given, as many as show every tooth."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(parser=named_file, metavar="FILE", help="Draw the saw-tooth: FILE.png or FILE.pdf.")
    ] = None,
    json: Json = False,
) -> None:
    """How much memory is wasted? What requests of some sizes really take, by kmalloc, pages, vmalloc, kvmalloc."""
    from kmsim.session.questions import show_waste
    from kmsim.study.waste_sizes import Range

    with state_as_written(state):
        show_waste(sizes or [], Range(first, last, step), state_sets(state), machine, plot, as_json=json)


@questions.command()
def walk(
    requests: Annotated[
        list[str], typer.Argument(help="Requests such as 'kmalloc(5000, GFP_KERNEL)' 'kfree()'.", metavar="REQUEST...")
    ],
    machine: Machine = "x86-laptop",
    state: State = None,
    cpu: Annotated[int, typer.Option(help="The CPU that asks for memory.")] = 0,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Why is one request slow, or why does it fail? What the kernel does for it, step by step, and what each costs."""
    from kmsim.session.walk import walk_and_show

    with state_as_written(state):
        walk_and_show(requests, machine, [*state_sets(state), *(set_ or ())], cpu, as_json=json)


@questions.command()
def explain(
    log: Annotated[Path, typer.Argument(parser=named_input, help="A kernel log with a report.", metavar="REPORT")],
    which: Annotated[int, typer.Option(help="Which report of the log, counted from 1.")] = 1,
    page: Annotated[
        Path | None, typer.Option(parser=named_file, metavar="FILE", help="Write a page with the zones drawn, as HTML.")
    ] = None,
    json: Json = False,
) -> None:
    """Why did an allocation fail, by the report in the kernel's log (page allocation failure, OOM), and what helps?"""
    from kmsim.session.explain import explain_and_show

    explain_and_show(log, which, page, as_json=json)


@questions.command()
def machine(
    sources: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(
            parser=named_input,
            help="Copies of /proc files, a folder or tar of them, a kernel log; this host.",
            metavar="FROM...",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(parser=named_file, metavar="FILE", help="The file to write.")] = Path(
        "machine.yaml"
    ),
    which: Annotated[Optional[int], typer.Option(help="Which report or moment of a file, counted from 1.")] = None,  # noqa: UP045
    node: Annotated[Optional[int], typer.Option(help="The one node to simulate; all if not given.")] = None,  # noqa: UP045
    memory: Annotated[Optional[str], typer.Option(metavar="SIZE", help="How much RAM there is.")] = None,  # noqa: UP045
    arch: Annotated[Optional[str], typer.Option(help="x86-64 or arm64, where nothing says it.")] = None,  # noqa: UP045
) -> None:
    """Write a config of a real machine and its state: of this host, or of what was copied or pasted of another."""
    from kmsim.session.machine import machine_and_show, wishes_of

    machine_and_show(sources or [], out, which, wishes_of(node, memory, arch))
