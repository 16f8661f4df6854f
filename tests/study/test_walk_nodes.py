"""Walks on a machine with several nodes: requests that name one, and zones that say of which node they are."""

import json
from pathlib import Path

import pytest

from kmsim.config import ConfigError
from kmsim.study.walk_requests import requests_of
from tests.commands import in_own_process


@pytest.mark.slow
def test_a_node_is_asked_wherever_the_cpu_is(tmp_path: Path) -> None:
    nodes = "{arch: x86-64, nodes: [{cpus: [0], memory: 64MiB}, {cpus: [1], memory: 64MiB}]}\n"
    (tmp_path / "nodes.yaml").write_text(nodes)
    asked = ("alloc_pages_node(1, GFP_KERNEL)", "free_pages()", "alloc_pages_exact_nid(1, 9KiB)", "free_pages_exact()")
    done = in_own_process("walk", *asked, "--machine", "nodes.yaml", "--json", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    for walk in json.loads(done.out):
        says = [step["says"] for stage in walk["stages"] for step in stage["steps"]]
        assert any("DMA32 of node 1" in words for words in says), walk["request"]
        assert not any("of node 0" in words for words in says), walk["request"]
    beyond = in_own_process("walk", "alloc_pages_node(2, GFP_KERNEL)", "--machine", "nodes.yaml", folder=tmp_path)
    assert (beyond.code, beyond.out) == (2, "")
    assert "a node is 0 to 1, not 2" in beyond.err


def test_cma_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"one that is modelled: CMA areas are not, found 'cma_alloc\(64\)'$"):
        requests_of(["cma_alloc(64)"])
