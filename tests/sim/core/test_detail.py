"""What a free needs beside the request: both parts come back from one number of a slot's width."""

import numpy as np

from kmsim.mm.mmzone import NR_PAGE_ORDERS_MAX
from kmsim.mm.vm_records import KV_FAILED, KV_NONE, KV_PAGES
from kmsim.sim.core.detail import kv_detail, kv_order, kv_outcome
from kmsim.sim.core.records import slot_t


def test_an_outcome_and_an_order_come_back() -> None:
    slot = np.zeros(1, slot_t)[0]
    for outcome in range(KV_NONE, KV_FAILED + 1):
        for order in range(NR_PAGE_ORDERS_MAX if outcome == KV_PAGES else 1):
            slot.detail = kv_detail(outcome, order)
            assert (kv_outcome(int(slot.detail)), kv_order(int(slot.detail))) == (outcome, order)
