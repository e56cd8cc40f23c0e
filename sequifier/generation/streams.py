"""Random numbers as a function of (seed, sequence, step, stream).

A number does not depend on what else is sampled: the batch size, the order, the number of models. The generator is
counter-based: Philox4x32-10 (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405), here for whole arrays.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]  # 32-bit words, in 64 bits so that products fit

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def uniforms(
    seed: int, sequences: NDArray[np.int64], steps: NDArray[np.int64] | int, stream: int
) -> NDArray[np.float64]:
    """Return uniform random numbers in [0, 1).

    Args:
        seed: below 2**64.
        sequences: numbers of the sequences, not negative.
        steps: where in its sequence each number is used, below 2**32; broadcast with `sequences`.
        stream: distinguishes several numbers for one step, for instance one for each column; below 2**32.

    Returns:
        Numbers of the broadcast shape of `sequences` and `steps`.
    """
    number, step = np.broadcast_arrays(sequences.astype(np.uint64), np.asarray(steps, dtype=np.uint64))
    counter = (number & _LOW, number >> _HALF, step, np.full_like(number, stream))
    first, second, _, _ = philox(counter, (np.uint64(seed) & _LOW, np.uint64(seed) >> _HALF))
    # 53 bits, as many as a float64 has.
    return ((first >> np.uint64(5)) * 2.0**26 + (second >> np.uint64(6))) * 2.0**-53


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[np.uint64, np.uint64]) -> tuple[Words, ...]:
    """Return four words for each counter, by Philox4x32-10."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (product1 >> _HALF) ^ c1 ^ k0, product1 & _LOW, (product0 >> _HALF) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3
