"""Student's t distribution for any positive degrees of freedom, including fractional ones.

SciPy is not a dependency. The tail is a regularised incomplete beta function, computed by its continued
fraction (Press et al., Numerical Recipes, section 6.4), and for many degrees by the normal distribution (Hill 1970,
Algorithm 395). Tests compare it with SciPy.
"""

from math import erfc, exp, inf, isfinite, lgamma, log, log1p, sqrt

_LARGEST = 1e150
"""A larger quantile counts as infinite: the degrees of freedom are close to 0."""
_MANY = 200
"""Degrees above which the normal distribution is used: there the relative error of a tail is below 1e-9."""
_TINY = 1e-300


def t_tail(t: float, degrees: float) -> float:
    """P(T > t) for t >= 0; 0.5 where the degrees are not positive: nothing can be concluded then."""
    if not (degrees > 0 and t > 0):
        return 0.5
    t = min(t, _LARGEST)
    if degrees > _MANY:
        return 0.5 * erfc(_normal(t, degrees) / sqrt(2))
    a, b = degrees / 2, 0.5
    x, rest = degrees / (degrees + t * t), t * t / (degrees + t * t)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(rest))
    if x < (a + 1) / (a + b + 2):
        return 0.5 * front * _fraction(a, b, x) / a
    return 0.5 * (1 - front * _fraction(b, a, rest) / b)


def t_quantile(tail: float, degrees: float) -> float:
    """The t with P(T > t) = tail, for 0 < tail < 0.5; infinite where the degrees are close to 0."""
    if not 0 < tail < 0.5:
        raise ValueError(f"tail is {tail}, not between 0 and 0.5")
    if t_tail(_LARGEST, degrees) > tail:
        return inf
    low, high = log(1e-12), log(_LARGEST)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(exp(middle), degrees) > tail else (low, middle)
    return exp((low + high) / 2)


def half_width(standard_error: float | None, degrees: float | None) -> float | None:
    """Half the width of the 95 % interval: standard error times t(degrees, .975); None without a standard error."""
    if standard_error is None or degrees is None:
        return None
    found = standard_error * t_quantile(0.025, degrees)
    return found if isfinite(found) else None


def _normal(t: float, degrees: float) -> float:
    """The standard normal deviate with the tail of t."""
    a = degrees - 0.5
    b = 48 * a * a
    z2 = a * log1p(t * t / degrees)
    return ((((-0.4 * z2 - 3.3) * z2 - 24) * z2 - 85.5) / (0.8 * z2 * z2 + 100 + b) + z2 + 3) / b * sqrt(z2) + sqrt(z2)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 1000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + factor * d)
            c = _not_zero(1 + factor / c)
            result *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return result


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
