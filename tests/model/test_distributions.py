"""Distributions of real targets, against scipy and their own ONNX graphs."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sequifier.artifacts.transforms import Scale
from sequifier.config.catalogue import distributions as catalogue
from sequifier.export.graph import GraphWriter
from sequifier.export.parity import open_session
from sequifier.model.distributions import forms
from sequifier.model.distributions.base import Distribution
from sequifier.model.distributions.family import DISTRIBUTIONS
from sequifier.model.distributions.lognormal_mixture import K, LognormalMixture
from sequifier.model.distributions.quantiles import Quantiles

SCALES = [Scale(3.0, 2.0), Scale(1.5, 0.75, "log1p"), Scale(1.5, 0.75, "asinh"), Scale(2.0, 1.0, "log1p", 3600.0)]
STATISTICS = torch.tensor([0.5, 1.25, 0.25])
LEVELS = np.array(forms.LEVELS)


def raw_parameters(distribution: Distribution, seed: int, spread: float, *size: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(*size, distribution.n_parameters, generator=generator)


def mixture(seed: int = 0, n: int = 4) -> Tensor:
    family = LognormalMixture()
    return family.parameters(raw_parameters(family, seed, 1.0, n), STATISTICS)


def cdf(parameters: Tensor, values: np.ndarray) -> np.ndarray:
    """The distribution function of one mixture, from scipy's log-normal distribution."""
    log_weight, location, log_scale = (part.double().numpy() for part in forms.parts_of(parameters))
    each = scipy.stats.lognorm.cdf(values[..., None], s=np.exp(log_scale), scale=np.exp(location))
    return np.asarray((np.exp(log_weight) * each).sum(-1))


def test_the_names_and_sizes_of_the_schema_are_those_of_the_family() -> None:
    assert {*DISTRIBUTIONS} == {*catalogue.DISTRIBUTION_SHAPES} == {*forms.FORMS}
    for name, shape in catalogue.DISTRIBUTION_SHAPES.items():
        family = DISTRIBUTIONS[name]
        assert (shape.n_parameters, shape.has_density) == (family.n_parameters, family.has_density)
        assert type(family.form) is type(forms.FORMS[name])
    assert catalogue.LEVELS == forms.LEVELS
    assert (catalogue.LEVELS[catalogue.Q10], catalogue.LEVELS[catalogue.MEDIAN]) == (0.1, 0.5)
    assert catalogue.LEVELS[catalogue.Q90] == 0.9
    assert catalogue.MEDIAN == forms.MIDDLE
    assert catalogue.N_COMPONENTS == K


@cache
def graph_of(name: str, scale: Scale) -> Callable[[Tensor], dict[str, np.ndarray]]:
    """The graph of a distribution: raw parameters (N, 2, P) -> its outputs `parameters` and `quantiles`."""
    family = DISTRIBUTIONS[name]
    writer = GraphWriter({"statistics": STATISTICS}, ["raw", "parameters", "quantiles"])
    raw = writer.input("raw", np.float32, 2, family.n_parameters)
    parameters = family.write_parameters(writer, raw, writer.weight("statistics") if family.n_statistics else None)
    writer.output("parameters", parameters, np.float32, 2, family.n_parameters)
    writer.output("quantiles", family.write_quantiles(writer, parameters, scale), np.float32, 2, 19)
    session = open_session(writer.finish("test").SerializeToString())
    names = ["parameters", "quantiles"]
    return lambda given: dict(zip(names, session.run(names, {"raw": given.numpy()}), strict=True))


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(DISTRIBUTIONS)),
    scale=st.sampled_from(SCALES),
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(0, 200),
)
def test_quantiles_never_cross(name: str, scale: Scale, seed: int, spread: float) -> None:
    family = DISTRIBUTIONS[name]
    raw = raw_parameters(family, seed, spread, 3, 2)
    quantiles = family.quantiles(family.parameters(raw, STATISTICS), scale)
    assert quantiles.shape == (3, 2, 19)
    assert torch.isfinite(quantiles).all()
    assert (quantiles.diff(dim=-1) >= 0).all()
    in_onnx = graph_of(name, scale)(raw)["quantiles"]
    assert np.isfinite(in_onnx).all()
    assert (np.diff(in_onnx) >= 0).all()


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: f"{scale.transform}, unit {scale.unit:g}")
@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_the_graph_computes_what_torch_does(name: str, scale: Scale) -> None:
    family = DISTRIBUTIONS[name]
    given_raw = torch.cat([raw_parameters(family, seed, spread, 2, 2) for seed, spread in enumerate((0.5, 2.0, 30.0))])
    found = graph_of(name, scale)(given_raw)
    expected = family.parameters(given_raw, STATISTICS)
    torch.testing.assert_close(torch.from_numpy(found["parameters"]), expected, atol=1e-5, rtol=1e-5)
    quantiles = family.quantiles(expected, scale)
    # 1e-4 of the value, as z; values near 0 differ by the rounding of z
    torch.testing.assert_close(torch.from_numpy(found["quantiles"]), quantiles, atol=1e-5, rtol=1e-4)
    assert (np.diff(found["quantiles"], axis=-1) >= 0).all()


def test_raw_parameters_of_zero_are_the_standard_normal_distribution() -> None:
    quantiles = Quantiles().parameters(torch.zeros(19), None)
    np.testing.assert_allclose(quantiles.numpy(), scipy.stats.norm.ppf(LEVELS), atol=1e-6)


def test_the_quantile_loss_is_lowest_at_the_quantiles_of_the_data() -> None:
    family, z = Quantiles(), torch.from_numpy(np.random.default_rng(0).gumbel(size=4001))
    best = torch.from_numpy(family.form.constant(3 + 2 * z.numpy(), Scale(3.0, 2.0)))
    np.testing.assert_allclose(best.numpy(), np.quantile(z.numpy(), LEVELS))

    def loss(quantiles: Tensor) -> float:
        return float(family.loss(quantiles.expand(len(z), -1), z, Scale(), 1.0).mean())

    for moved in (best + 0.05, best - 0.05, best * 1.1):
        assert loss(moved) > loss(best)
    point = z.new_full((len(z),), 0.3)
    certain = family.from_quantiles(point[:, None].expand(-1, 19))
    assert certain is not None
    torch.testing.assert_close(family.loss(certain, z, Scale(), 1.0), (point - z).abs() / 2)


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: f"{scale.transform}, unit {scale.unit:g}")
def test_the_density_of_a_mixture_is_scipys(scale: Scale) -> None:
    parameters = mixture()
    values = np.array([0.2, 1.0, 4.0, 30.0])  # in stored units
    z = torch.from_numpy(scale.standardised(values))
    loss = LognormalMixture().loss(parameters.double(), z, scale, 0.01)
    log_weight, location, log_scale = (part.double().numpy() for part in forms.parts_of(parameters))
    density = scipy.stats.lognorm.pdf(values[:, None], s=np.exp(log_scale), scale=np.exp(location))
    expected = -np.log((np.exp(log_weight) * density).sum(-1) * scale.unit)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-6, atol=1e-6)
    statistics = np.array([0.0, 1.0, 0.01])
    in_numpy = forms.LognormalForm().nll(parameters.numpy(), z.numpy(), scale, statistics)
    np.testing.assert_allclose(in_numpy, expected, rtol=1e-6, atol=1e-6)


def test_values_at_most_0_are_between_0_and_the_resolution() -> None:
    family, parameters, scale = LognormalMixture(), mixture(), Scale(1.0, 0.5, "log1p")
    z = torch.full((4,), (0.0 - scale.mean) / scale.std)
    expected = [np.log(cdf(row, np.array(0.25))) for row in parameters]
    np.testing.assert_allclose(family.loss(parameters, z, scale, 0.25).numpy(), -np.array(expected), rtol=1e-5)
    in_numpy = forms.LognormalForm().nll(parameters.numpy(), z.double().numpy(), scale, STATISTICS.numpy())
    np.testing.assert_allclose(in_numpy, -np.array(expected), rtol=1e-5)
    tails = [np.log1p(-cdf(row, np.array(3.0))) for row in parameters]
    np.testing.assert_allclose(family.log_survival(parameters, 3.0).numpy(), tails, rtol=1e-5)
    values = torch.tensor([3.0, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(family.log_survival(parameters, values).numpy(), tails, rtol=1e-5)


def test_gradients_of_a_mixture_are_finite_for_zeros_and_outliers() -> None:
    family, scale = LognormalMixture(), Scale(1.0, 0.5, "log1p")
    raw = raw_parameters(family, 0, 5.0, 4).requires_grad_()
    z = torch.tensor([-2.0, -2.0, 40.0, 0.5])
    family.loss(family.parameters(raw, STATISTICS), z, scale, 0.25).sum().backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


def test_the_quantiles_of_a_mixture_have_their_probabilities() -> None:
    parameters, scale = mixture(seed=3), Scale(3.0, 2.0)
    values = scale.original(LognormalMixture().quantiles(parameters, scale).double().numpy())
    for row, of_row in zip(parameters, values, strict=True):
        np.testing.assert_allclose(cdf(row, of_row), LEVELS, atol=1e-5)


def test_the_mean_of_a_mixture_is_that_of_its_components() -> None:
    parameters = mixture(seed=1, n=2).double().numpy()
    log_weight, location, log_scale = forms.parts_of(parameters)
    expected = (np.exp(log_weight) * scipy.stats.lognorm.mean(s=np.exp(log_scale), scale=np.exp(location))).sum(-1)
    means = forms.LognormalForm().mean(parameters, Scale(0.0, 1.0, None, 60.0))
    np.testing.assert_allclose(means, expected / 60)


def test_a_mixture_learns_the_statistics_of_the_values_above_0() -> None:
    form, values = forms.LognormalForm(), np.array([0.0, 1.0, 10.0, 100.0])
    mean, std, resolution = form.statistics(values)
    assert resolution == 1.0
    assert mean == pytest.approx(np.log(10))
    assert std == pytest.approx(np.log(10) * (2 / 3) ** 0.5)
    assert form.statistics(values[1:2]).tolist() == [0.0, 1.0, 1.0], "one value has no spread"
    constant = torch.from_numpy(form.constant(values, Scale()))
    np.testing.assert_allclose(cdf(constant, values[1:]), scipy.stats.norm.cdf((np.log(values[1:]) - mean) / std))


def test_the_mean_of_quantiles_is_the_mean_of_their_samples() -> None:
    quantiles = np.quantile(np.random.default_rng(0).gumbel(size=100_000), LEVELS)
    uniform = (np.arange(200_000) + 0.5) / 200_000
    samples = forms.QuantileForm().sample(np.tile(quantiles, (len(uniform), 1)), uniform, Scale())
    assert forms.QuantileForm().mean(quantiles, Scale()) == pytest.approx(samples.mean(), abs=1e-3)
    assert samples.mean() == pytest.approx(np.euler_gamma, abs=0.05), "the mean of Gumbel's distribution"
    np.testing.assert_allclose(np.quantile(samples, LEVELS), quantiles, atol=1e-3)
    assert (np.diff(samples) >= 0).all(), "samples rise with the random number"


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: f"{scale.transform}, unit {scale.unit:g}")
def test_samples_of_a_mixture_are_distributed_like_it(scale: Scale) -> None:
    parameters = mixture(seed=2, n=1)
    uniform = (np.arange(40_000) + 0.5) / 40_000
    z = forms.LognormalForm().sample(parameters.numpy().repeat(len(uniform), axis=0), uniform, scale)
    values = scale.original(z) * scale.unit
    assert scipy.stats.kstest(values, lambda value: cdf(parameters[0], value)).statistic < 1e-3


def test_normal_quantiles_are_scipys() -> None:
    level = np.array([1e-300, 1e-20, 1e-5, 0.02, 0.075, 0.3, 0.5, 0.8, 0.925, 0.999, 1 - 1e-16])
    np.testing.assert_allclose(forms.normal_quantile(level), scipy.stats.norm.ppf(level), rtol=1e-13, atol=1e-16)


def test_values_that_differ_by_rounding_alone_have_the_spread_of_equal_ones() -> None:
    """An hour between all events, restored from float32: a deviation of 1e-16 would make densities infinite."""
    scale = Scale(8.19, 1.0, "log1p")
    z = scale.standardised(np.full(100, 3600.0)).astype(np.float32)
    values = scale.original(np.concatenate([z, np.nextafter(z, np.float32(1))]).astype(np.float64))
    assert values.std() > 0
    mean, std, smallest = forms.LognormalForm().statistics(values)
    assert (mean, std, smallest) == pytest.approx((np.log(3600), 1.0, 3600), rel=1e-6)
