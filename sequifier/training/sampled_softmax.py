"""Sampled softmax: the loss of a target of many classes, over the true class and a sample of the others.

Source: Jean et al. 2015, https://arxiv.org/abs/1412.2007. Given the set of candidates, the probability that class c is
the true one is proportional to exp(logit of c) / (probability that c is sampled), so with the logarithm of that
subtracted the optimum is the one of the softmax over all classes; with a sample of all it is that softmax.
A sample is drawn without replacement from (seed, step, part of the step) on the host, so that it is the same on every
device and in a run that was resumed.
Shapes: M target positions, E width of the vectors that a decoder reads, K classes, n sampled ones.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sequifier.config.softmax import SampledSoftmax
from sequifier.dataset.gather import to_device
from sequifier.model.heads import Decoder

POWER = 0.75
"""Of the number of targets of a class; between popularity itself (1) and uniform (0). Mikolov et al. 2013."""


@dataclass(frozen=True)
class ClassSampler:
    """The classes that a target's loss is computed over, besides the true one.

    Attributes:
        n_samples: n.
        rates: how often each class is drawn, in proportion, (K,).
        log_chance: logarithm of the probability that a class is in a sample, (K,) on the device; None: no correction.
    """

    n_samples: int
    rates: NDArray[np.float64]
    log_chance: Tensor | None

    @classmethod
    def of(cls, asked: SampledSoftmax, counts: NDArray[np.int64], device: torch.device) -> Self:
        """Build it from the number of training targets of each class, (K,).

        A class without one counts as one, so that its logit falls too.
        """
        rates = np.maximum(counts, 1) ** (POWER if asked.by == "popularity" else 0.0)
        rates /= rates.sum()
        log_chance = np.log(_chances(rates, asked.sampled)).astype(np.float32)
        return cls(asked.sampled, rates, to_device(log_chance, device) if asked.logq else None)

    def draw(self, *seed: int) -> NDArray[np.int64]:
        """Return (n,) indices of different classes, the same for equal seeds.

        Class after class is drawn in proportion to the rates of those left: the first arrivals of independent Poisson
        processes.
        """
        arrival = np.random.default_rng(seed).standard_exponential(len(self.rates)) / self.rates
        found: NDArray[np.int64] = np.argpartition(arrival, self.n_samples - 1)[: self.n_samples]
        return found

    def summed(self, decoder: Decoder, truth: Tensor, known: Tensor | None, sample: Tensor) -> Tensor:
        """Return the sum of the losses, a scalar.

        Args:
            decoder: with vectors (M, E). Its products have the format of the surrounding autocast.
            truth, known: as in `TargetLoss.per_position`.
            sample: (n,) indices from `draw`.
        """
        true = (truth if known is None else truth.where(known, 1)).long() - 1
        # One look-up: its gradient is one tensor of all classes.
        rows = F.embedding(torch.cat((true, sample)), decoder.weight)
        of_true, of_sample = rows[: len(true)], rows[len(true) :]
        others = F.linear(decoder.vectors, of_sample).float()  # (M, n)
        own = (decoder.vectors.float() * of_true.float()).sum(-1)
        if decoder.bias is not None:
            own, others = own + decoder.bias[true], others + decoder.bias[sample]
        if self.log_chance is not None:
            own, others = own - self.log_chance[true], others - self.log_chance[sample]
        others = others.masked_fill(sample == true[:, None], -torch.inf)  # accidental hits
        losses = torch.cat((own[:, None], others), dim=1).logsumexp(-1) - own
        return losses.sum() if known is None else losses.where(known, 0).sum()


def _chances(rates: NDArray[np.float64], n_samples: int) -> NDArray[np.float64]:
    """Return the probability that a class is in a sample, (K,), as if all samples ended at the same time.

    The time at which n classes have arrived varies little for the hundreds of classes that are sampled.
    """
    if n_samples >= len(rates):
        return np.ones_like(rates)
    lower, upper = 0.0, float(n_samples)
    while -np.expm1(-rates * upper).sum() < n_samples:
        upper *= 2
    for _ in range(100):
        middle = (lower + upper) / 2
        if -np.expm1(-rates * middle).sum() < n_samples:
            lower = middle
        else:
            upper = middle
    found: NDArray[np.float64] = -np.expm1(-rates * upper)
    return found
