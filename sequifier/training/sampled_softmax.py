"""Sampled softmax: the loss of a target of many classes, over the true class and a sample of the others.

Source: Jean et al. 2015, https://arxiv.org/abs/1412.2007. Given the set of candidates, the probability that class c is
the true one is proportional to exp(logit of c) / (probability that c is sampled), so with the logarithm of that
subtracted the optimum is the one of the softmax over all classes; with a sample of all it is that softmax.
A sample is drawn without replacement from (seed, step, part of the step) on the host, so that it is the same on every
device and in a run that was resumed. As in `chunked_loss`, the gradient of a chunk of positions is computed with its
loss, so that the logits of all positions never exist at the same time.
Shapes: M target positions, E width of the vectors that a decoder reads, K classes, n sampled ones.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sequifier.config.softmax import SampledSoftmax
from sequifier.dataset.gather import to_device
from sequifier.model.heads import Decoder
from sequifier.training.chunked_loss import WithGradients, chunks, product_formats

POWER = 0.75
"""Of the number of targets of a class; between popularity itself (1) and uniform (0). Mikolov et al. 2013."""

_LOGITS_AT_A_TIME = {"cpu": 1 << 18}
"""Logits of a chunk, by device: on a CPU few enough to stay in the cache, elsewhere as many as keep it busy."""
_ELSEWHERE = 1 << 24


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
        """Return (n,) indices of different classes, ascending, the same for equal seeds.

        Class after class is drawn in proportion to the rates of those left: the first arrivals of independent Poisson
        processes.
        """
        arrival = np.random.default_rng(seed).standard_exponential(len(self.rates)) / self.rates
        found: NDArray[np.int64] = np.sort(np.argpartition(arrival, self.n_samples - 1)[: self.n_samples])
        return found

    def summed(self, decoder: Decoder, truth: Tensor, known: Tensor | None, sample: Tensor) -> Tensor:
        """Return the sum of the losses, a scalar.

        Args:
            decoder: with vectors (M, E). Its products have the format of the surrounding autocast.
            truth, known: as in `TargetLoss.per_position`.
            sample: (n,) indices from `draw`.
        """
        summed: Tensor = _Summed.apply(  # type: ignore[no-untyped-call]
            decoder.vectors, decoder.weight, decoder.bias, truth, known, sample, self.log_chance
        )
        return summed


class _Summed(WithGradients):
    """The sum of losses, with gradients of vectors, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        truth: Tensor,
        known: Tensor | None,
        sample: Tensor,
        log_chance: Tensor | None,
    ) -> Tensor:
        (ahead, back), full = product_formats(weight), torch.promote_types(weight.dtype, torch.float32)
        with torch.autocast(weight.device.type, enabled=False):
            true = (truth if known is None else truth.where(known, 1)).long() - 1
            counts = torch.ones_like(true, dtype=full) if known is None else known.to(full)
            of_true, of_sample = weight[true].to(full), weight[sample]
            shift = torch.zeros_like(weight[:, 0], dtype=full) if bias is None else bias.to(full)
            if log_chance is not None:
                shift = shift - log_chance
            own = (vectors.to(full) * of_true).sum(-1) + shift[true]
            shift = shift[sample]
            # Accidental hits: where the true class is among the sample, it is not another class.
            place = torch.searchsorted(sample, true).clamp(max=len(sample) - 1)
            is_hit = sample[place] == true
            inputs, matrix = vectors.to(ahead), of_sample.to(ahead)
            inputs_back, matrix_back = inputs.to(back), matrix.to(back)
            of_vectors, of_own = torch.empty_like(inputs_back), torch.empty_like(own)
            of_matrix, of_shift = torch.zeros_like(of_sample, dtype=full), torch.zeros_like(shift)
            total = torch.zeros((), dtype=full, device=vectors.device)
            size = max(_LOGITS_AT_A_TIME.get(weight.device.type, _ELSEWHERE) // len(sample), 1)
            for here in chunks(len(vectors), size):
                shares = F.linear(inputs[here], matrix).to(full).add_(shift)
                at = place[here, None]
                shares.scatter_(1, at, shares.gather(1, at).masked_fill(is_hit[here, None], -torch.inf))
                largest = torch.maximum(shares.amax(1), own[here])
                own_share = (own[here] - largest).exp()
                norm = shares.sub_(largest[:, None]).exp_().sum(1) + own_share
                total += ((norm.log() + largest - own[here]) * counts[here]).sum()
                scale = counts[here] / norm
                shares *= scale[:, None]
                of_own[here] = own_share * scale - counts[here]
                of_shift += shares.sum(0)
                shares = shares.to(back)
                torch.mm(shares, matrix_back, out=of_vectors[here])
                of_matrix += shares.T @ inputs_back[here]
            of_vectors = of_vectors.to(full).addcmul_(of_own[:, None], of_true)
            rows, classes = torch.cat((of_own[:, None] * vectors, of_matrix)), torch.cat((true, sample))
            of_weight = _by_class(rows, classes, len(weight)).to(weight.dtype)
            of_bias = None
            if bias is not None:
                of_bias = _by_class(torch.cat((of_own, of_shift))[:, None], classes, len(weight))[:, 0].to(bias.dtype)
        ctx.gradients = of_vectors.to(vectors.dtype), of_weight, of_bias
        return total


def _by_class(rows: Tensor, classes: Tensor, n_classes: int) -> Tensor:
    """Sum rows by class, (n_classes, E), on a GPU in the same order each time."""
    summed: Tensor = torch.ops.aten.embedding_dense_backward(rows, classes, n_classes, -1, False)
    return summed


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
