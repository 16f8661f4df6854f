"""Time a stock kernel's page allocator: how long one block of an order takes to get, and to put.

    sudo python3 pages.py --order 0 --blocks 50000 --cpus 1 >> points.csv

Needs nothing but Python and root (CAP_NET_RAW). One call makes the ring of a packet socket of N blocks: in the kernel a
loop of N calls of __get_free_pages (net/packet/af_packet.c, alloc_pg_vec); another call gives them back. Of both the
same call for one block is subtracted, so that what else it does is not in the difference. The kernel asks for zeroed,
compound pages, and the points say so (`gfp`).

Each round is one difference, divided by N - 1; a point is the median of the rounds, its error bar the standard error of
a median. Writes points as `kmsim calibrate` and `kmsim compare` read them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import struct
import sys
import time

SOL_PACKET, PACKET_RX_RING = 263, 5  # include/linux/socket.h, include/uapi/linux/if_packet.h
GFP = "GFP_KERNEL|__GFP_COMP|__GFP_ZERO|__GFP_NOWARN|__GFP_NORETRY"
BLOCKS_MAX = 1 << 19  # of one ring: the kernel keeps their addresses in one kmalloc
PAGE = os.sysconf("SC_PAGE_SIZE")
OF_A_MEDIAN = 1.2533  # its standard error over that of a mean, of normal noise: sqrt(pi / 2)


def timed(ring: socket.socket, order: int, blocks: int) -> int:
    """How long it takes to give a socket a ring of so many blocks; of none, to take it away; in ns.

    By the thread's own clock: the call also sleeps, until no CPU uses what the socket had before.
    """
    block = PAGE << order
    request = struct.pack("IIII", block, blocks, PAGE, blocks << order) if blocks else bytes(16)
    began = time.thread_time_ns()
    ring.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
    return time.thread_time_ns() - began


def of_one_round(order: int, blocks: int, together: multiprocessing.synchronize.Barrier) -> tuple[float, float]:
    """What one block more takes to get, and to put."""
    times = []
    for count in (1, blocks):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as ring:
            together.wait()
            got = timed(ring, order, count)
            together.wait()
            times.append((got, timed(ring, order, 0)))
    (get_one, put_one), (get_all, put_all) = times
    return (get_all - get_one) / (blocks - 1), (put_all - put_one) / (blocks - 1)


def on_cpu(cpu: int, asked: argparse.Namespace, together: multiprocessing.synchronize.Barrier, into: object) -> None:
    """All rounds on one CPU."""
    os.sched_setaffinity(0, {cpu})
    into.put([of_one_round(asked.order, asked.blocks, together) for _ in range(asked.rounds + 1)][1:])


def main() -> None:
    """Measure on the first CPUs at once, and write two points."""
    parser = argparse.ArgumentParser(description="Time a stock kernel's page allocator.")
    for name, default in (("order", 0), ("blocks", 50000), ("cpus", 1), ("rounds", 21)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    if not 2 <= asked.blocks <= BLOCKS_MAX or asked.rounds < 2 or asked.order < 0 or asked.cpus < 1:
        parser.error(f"blocks must be 2 to {BLOCKS_MAX}, rounds at least 2, order at least 0, cpus at least 1")
    together, into = multiprocessing.Barrier(asked.cpus), multiprocessing.Queue()
    cpus = [multiprocessing.Process(target=on_cpu, args=(cpu, asked, together, into)) for cpu in range(asked.cpus)]
    for process in cpus:
        process.start()
    rounds = list(zip(*(into.get() for _ in cpus), strict=True))
    for process in cpus:
        process.join()
    print("workload,order,cpus,gfp,blocks,ns,error_percent")
    for word, which in (("get", 0), ("put", 1)):
        ns = [statistics.mean(one[which] for one in of_cpus) for of_cpus in rounds]
        middle = statistics.median(ns)
        error = OF_A_MEDIAN * statistics.stdev(ns) / len(ns) ** 0.5
        if middle < 2 * error:
            sys.exit(f"{word}: {middle:.0f} ns with an error of {error:.0f} ns tells nothing; ask for more blocks")
        facts = f"{word},{asked.order},{asked.cpus},{GFP},{asked.blocks}"
        print(f"{facts},{middle:.4g},{max(100 * error / middle, 0.1):.2g}")


if __name__ == "__main__":
    main()
