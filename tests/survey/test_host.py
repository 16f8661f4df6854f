"""`kmsim machine` on the host that runs the tests: zones, marks and free blocks are those of the files it shows."""

import pytest

from kmsim.config import loads
from kmsim.procfs import buddyinfo, zoneinfo
from kmsim.sim.run.boot import machine_of
from kmsim.survey.facts import facts_of
from kmsim.survey.machine_file import Wishes, found_machine, text_of
from kmsim.survey.texts import SurveyError, of_host

SIZES = ("min", "low", "high", "spanned", "present", "managed")
PAGES_MAX = 1 << 24  # 64 GiB of 4 KiB pages: more takes memory that a host with other work may not have


@pytest.mark.slow
def test_this_host_is_the_machine_that_its_files_say() -> None:
    texts = of_host()
    content = {text.kind: text.content for text in texts}
    if not {"zoneinfo", "buddyinfo"} <= content.keys():
        pytest.skip("this host shows no zones")
    said = [zone for zone in zoneinfo.parse(content["zoneinfo"]) if zone.sizes["present"]]
    if sum(zone.sizes["present"] for zone in said) > PAGES_MAX or len({zone.node for zone in said}) > 1:
        pytest.skip("this host is too large, or has nodes whose memory may lie in turns")
    try:
        found = found_machine(facts_of(texts, None), Wishes())
    except SurveyError as refused:
        pytest.skip(f"this host is refused: {refused}")  # by one message, as test_machine_file holds
    m = machine_of(loads(text_of(found)).machine, seed=1)
    got = [zone for zone in zoneinfo.parse(zoneinfo.show(m)) if zone.sizes["present"]]
    assert [zone.zone for zone in got] == [zone.zone for zone in said]
    for mine, real in zip(got, said, strict=True):
        assert [mine.sizes[name] for name in SIZES] == [real.sizes[name] for name in SIZES]
        assert mine.start_pfn == real.start_pfn
    free = {row.zone: row.nr_free for row in buddyinfo.parse(content["buddyinfo"])}
    assert {row.zone: row.nr_free for row in buddyinfo.parse(buddyinfo.show(m))} == free
