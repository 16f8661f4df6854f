"""Random streams by name: adding a thread moves no other thread's numbers.

A stream's key is the study's seed and a stable hash of the stream's name (BLAKE2, not `hash()`,
whose value changes from process to process).
"""

import hashlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator of the stream `name` under `seed`; the same numbers on every machine."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=tuple(words))))
