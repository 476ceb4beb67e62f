"""How often the interval of a tail's exponent holds the truth, for spectra that are drawn from a power law.

    python -m bench.tail_interval

Pareto draws of known exponents and lengths, each fitted with xmin chosen from the draw itself, as in an analysis; the
share of intervals that hold the true exponent, with the quantile in use and with the 1.96 that would do for a given
xmin. Spectra whose tail is no power law have no true exponent, so that this says nothing about them.
"""

import itertools

import numpy as np

from models import powerlaw
from models.statistics import wilson

SEED = 20240601
EXPONENTS = (1.8, 2.5, 3.5, 5.0)
LENGTHS = (64, 256, 1024)
DRAWS = 1000
_GIVEN_XMIN = 1.96


def main() -> None:
    """Print the shares as a Markdown table."""
    quantiles = (powerlaw.INTERVAL_Z, _GIVEN_XMIN)
    held: dict[float, dict[int, int]] = {z: dict.fromkeys(LENGTHS, 0) for z in quantiles}
    for (place, exponent), length in itertools.product(enumerate(EXPONENTS), LENGTHS):
        random = np.random.default_rng([SEED, place, length])
        for _ in range(DRAWS):
            values = (1.0 - random.random(length)) ** (-1.0 / (exponent - 1.0))
            for z, holds in coverage(values, exponent, quantiles).items():
                held[z][length] += holds
    print(f"| quantile | {' | '.join(f'{length} eigenvalues' for length in LENGTHS)} | all |")
    print(f"| --- |{' --- |' * (len(LENGTHS) + 1)}")
    n = DRAWS * len(EXPONENTS)
    for z, by_length in held.items():
        shares = [shown(count, n) for count in by_length.values()]
        print(f"| {z:g} | {' | '.join(shares)} | {shown(sum(by_length.values()), n * len(LENGTHS))} |")


def coverage(values: powerlaw.Vector, exponent: float, quantiles: tuple[float, ...]) -> dict[float, bool]:
    """Whether the interval of each quantile holds the exponent."""
    fit = powerlaw.fit_power_law(values)
    assert fit is not None
    excess = fit.tail / (fit.alpha - 1.0)
    bounds = {z: powerlaw.interval(fit.tail, excess, z) for z in quantiles}
    return {z: low <= exponent <= high for z, (low, high) in bounds.items()}


def shown(count: int, n: int) -> str:
    """A share in percent with its 95 % interval."""
    share = wilson(count, n)
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


if __name__ == "__main__":
    main()
