"""Time a stock kernel's page allocator: how long one block of an order takes to get, and to put.

    sudo python3 pages.py --order 0 --blocks 50000 --cpus 1 >> points.csv

Needs nothing but Python and root (CAP_NET_RAW). One call makes the ring of a packet socket of N blocks: in the kernel a
loop of N calls of __get_free_pages (net/packet/af_packet.c, alloc_pg_vec); another call gives them back. Of both the
same call for one block is subtracted, so that what else it does is not in the difference. The kernel asks for zeroed,
compound pages, and the points say so (`gfp`).

Each round is one difference, divided by N - 1; a point is the median of the rounds, its error bar the standard error of
a median. Writes points as `kmsim calibrate` and `kmsim compare` read them.

Where it finds no block of the order, the kernel makes the ring of vmalloc memory instead, and says nothing: refused by
what /proc/vmallocinfo shows while the ring is there, and so are orders that /proc/buddyinfo has no column for.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import struct
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

SOL_PACKET, PACKET_RX_RING = 263, 5  # include/linux/socket.h, include/uapi/linux/if_packet.h
GFP = "GFP_KERNEL|__GFP_COMP|__GFP_ZERO|__GFP_NOWARN|__GFP_NORETRY"
BLOCKS_MAX = 1 << 19  # of one ring: the kernel keeps their addresses in one kmalloc
BUDDYINFO, VMALLOCINFO = Path("/proc/buddyinfo"), Path("/proc/vmallocinfo")
OF_A_RING = ("alloc_one_pg_vec_page", "alloc_pg_vec", "packet_set_ring")  # who asks: whichever is not inlined
FORK = multiprocessing.get_context("fork")
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


def vmalloc_rings() -> int:
    """How many blocks of packet sockets are vmalloc memory."""
    lines = VMALLOCINFO.read_text().splitlines()
    return sum(any(name in line for name in OF_A_RING) for line in lines)


def of_one_round(asked: argparse.Namespace, together: Barrier) -> tuple[float, float]:
    """What one block more takes to get, and to put."""
    times = []
    for count in (1, asked.blocks):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as ring:
            together.wait()
            got = timed(ring, asked.order, count)
            if vmalloc_rings() > asked.vmalloc_rings:
                raise MemoryError(
                    f"no free block of order {asked.order}: the kernel took vmalloc memory; ask for fewer"
                )
            together.wait()
            times.append((got, timed(ring, asked.order, 0)))
    (get_one, put_one), (get_all, put_all) = times
    return (get_all - get_one) / (asked.blocks - 1), (put_all - put_one) / (asked.blocks - 1)


def on_cpu(cpu: int, asked: argparse.Namespace, together: Barrier, into: Connection) -> None:
    """All rounds on one CPU, or why there are none."""
    try:
        os.sched_setaffinity(0, {cpu})
        into.send([of_one_round(asked, together) for _ in range(asked.rounds + 1)][1:])
    except threading.BrokenBarrierError:
        into.send("")  # another CPU says why
    except PermissionError:
        into.send("must be run as root: a packet socket needs CAP_NET_RAW")
        together.abort()
    except (OSError, MemoryError) as error:
        into.send(f"CPU {cpu}: {error}")
        together.abort()


def of_all_cpus(asked: argparse.Namespace) -> list[tuple[tuple[float, float], ...]]:
    """Each round on all CPUs at once; stops where one of them cannot go on."""
    together, cpus, number = FORK.Barrier(asked.cpus), [], {}
    for cpu in range(asked.cpus):
        ours, theirs = FORK.Pipe(duplex=False)
        cpus.append(FORK.Process(target=on_cpu, args=(cpu, asked, together, theirs), daemon=True))
        cpus[-1].start()
        theirs.close()
        number[ours] = cpu
    rounds: dict[int, Any] = {}
    while len(rounds) < asked.cpus:
        for end in wait([end for end, cpu in number.items() if cpu not in rounds]):
            try:
                rounds[number[end]] = end.recv()
            except EOFError:
                rounds[number[end]] = f"CPU {number[end]}: its process ended"
                together.abort()
    for process in cpus:
        process.join()
    why = [one for one in rounds.values() if isinstance(one, str) and one]
    if why:
        sys.exit(why[0])
    return list(zip(*rounds.values(), strict=True))


def points(asked: argparse.Namespace, rounds: list[tuple[tuple[float, float], ...]]) -> list[str]:
    """The rows; stops where one would tell nothing."""
    rows = []
    for word, which in (("get", 0), ("put", 1)):
        ns = [statistics.mean(one[which] for one in of_cpus) for of_cpus in rounds]
        middle = statistics.median(ns)
        error = OF_A_MEDIAN * statistics.stdev(ns) / len(ns) ** 0.5
        if middle < 2 * error:
            sys.exit(f"{word}: {middle:.0f} ns with an error of {error:.0f} ns tells nothing; ask for more blocks")
        facts = f"{word},{asked.order},{asked.cpus},{GFP},{asked.blocks}"
        rows.append(f"{facts},{middle:.4g},{max(100 * error / middle, 0.1):.2g}")
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure on the first CPUs at once, and write two points, or none."""
    parser = argparse.ArgumentParser(description="Time a stock kernel's page allocator.")
    for name, default in (("order", 0), ("blocks", 50000), ("cpus", 1), ("rounds", 21)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args(arguments)
    if not 2 <= asked.blocks <= BLOCKS_MAX or asked.rounds < 2 or asked.order < 0 or asked.cpus < 1:
        parser.error(f"blocks must be 2 to {BLOCKS_MAX}, rounds at least 2, order at least 0, cpus at least 1")
    try:
        order_max = len(BUDDYINFO.read_text().splitlines()[0].split()) - 5  # after Node 0, zone DMA: one of each order
        asked.vmalloc_rings = vmalloc_rings()
    except OSError as error:
        sys.exit(f"{error.filename} must be a file that can be read, as root: {error.strerror}")
    if asked.order > order_max:
        parser.error(f"order must be at most {order_max}, the largest that this kernel has")
    rows = points(asked, of_all_cpus(asked))
    print("\n".join(["workload,order,cpus,gfp,blocks,ns,error_percent", *rows]))


if __name__ == "__main__":
    main()
