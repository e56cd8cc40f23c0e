"""How the threads of a matrix product wait for each other; to be set before torch is loaded."""

import os
import time
from pathlib import Path

SPINS_ALONE, SPINS_BESIDE_OTHERS = "30000", "3000"
_LOOKS, _SECONDS_BETWEEN = 5, 0.004


def share_processors() -> None:
    """Let waiting threads give up their processor; do nothing when the user has set how they wait.

    GNU OpenMP lets them spin for milliseconds, which does no harm on an idle machine only. Measured on 2 cores,
    milliseconds of a step of width 64 and 2 layers by the number of spins:

        spins                        3,000   10,000   30,000   by default
        alone                           50       43       40           40
        beside a training like it       86      119      218            -

    By default the second row is six times the first (measured at another size). So threads spin longer when no other
    process works while this one starts; a process that starts later takes 3,000 spins, which keeps its share of time.
    """
    os.environ.update(spinning(SPINS_BESIDE_OTHERS if _others_work() else SPINS_ALONE))


def spinning(spins: str) -> dict[str, str]:
    """The variables that set the number of spins; none when the user has set how threads wait."""
    return {} if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys() else {"GOMP_SPINCOUNT": spins}


def _others_work() -> bool:
    """Whether tasks of others occupy half of the processors or more, in the majority of a few samples."""
    busy = 0
    for _ in range(_LOOKS):
        try:
            running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):  # not Linux, where GNU OpenMP is rare
            return False
        busy += 2 * (running - 1) >= (os.cpu_count() or 1)
        time.sleep(_SECONDS_BETWEEN)
    return 2 * busy > _LOOKS
