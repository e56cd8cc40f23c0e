"""The distributions by name."""

from collections.abc import Mapping

from sequifier.model.distributions.base import Distribution
from sequifier.model.distributions.lognormal_mixture import LognormalMixture
from sequifier.model.distributions.quantiles import Quantiles

DISTRIBUTIONS: Mapping[str, Distribution] = {"quantiles": Quantiles(), "lognormal_mixture": LognormalMixture()}
