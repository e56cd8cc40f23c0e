"""How the threads of a matrix product wait for each other; to be said before torch is loaded."""

import os

SPINS = "3000"


def share_processors() -> None:
    """Let waiting threads give up their processor soon; does nothing when the user has set how they wait.

    GNU OpenMP lets them spin for milliseconds, which is harmless on an idle machine only. Measured on 2 cores, width
    64, windows per second: alone 1,700 by default and 1,690 with 3,000 spins; beside another training 277 and 590.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
