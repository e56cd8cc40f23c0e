"""Random numbers that are a function of what they are for, so that neither batches nor threads nor runs change them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]

COUNTER = np.uint64(0x9E3779B97F4A7C15)
"""The step of SplitMix64 from one state to the next."""


def mixed(bits: Bits) -> Bits:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): each output bit depends on every input bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def uniform(state: NDArray[Any]) -> NDArray[np.float64]:
    """The outputs of SplitMix64 at these states, as numbers in [0, 1)."""
    return (mixed(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53
