"""Bounds on the rounding error of a result that hold on any processor.

Processors and thread counts sum in different orders, so digits differ. The error of a sum of n products is about
eps x sqrt(n / 2) of its size where roundings are independent (Higham & Mary 2019, a probabilistic rounding analysis),
measured by norms, in which single sums that cancel weigh little. `FACTOR` covers what follows a sum (exp, a division).
The reference must be exact, in float64: torch's own float32 attention with a mask is off by 1.5e-6, ours by 3e-7.
A wrong formula is off by 1e-3 or more, so the factor hides none.
"""

import torch
from torch import Tensor

FACTOR = 4


def rounding(n_terms: int, dtype: torch.dtype = torch.float32) -> float:
    """Return the relative error that sums may have.

    Args:
        n_terms: summed terms one after another, over all layers of sums.
        dtype: format of the sums. bfloat16 products are summed in float32: their terms are the roundings in a row.
    """
    return float(FACTOR * torch.finfo(dtype).eps * n_terms**0.5)


def assert_rounded(found: Tensor, exact: Tensor, n_terms: int, dtype: torch.dtype = torch.float32) -> None:
    """Fail if the norm of the error of `found` exceeds what rounding in `dtype` explains."""
    error, size = (found.detach().double() - exact.detach()).norm(), exact.detach().norm()
    bound = rounding(n_terms, dtype) * size
    assert error <= bound, f"off by {float(error / size):.2e} of its size, rounding explains {float(bound / size):.2e}"
