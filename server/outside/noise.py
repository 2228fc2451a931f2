"""Noise from OpenDP: its discrete Laplace sampler is exact, where one from floating-point numbers would leak."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import opendp.prelude as dp

dp.enable_features("contrib")  # OpenDP's word for what its own committee has not vetted line by line; this mechanism is

_SPACE = dp.vector_domain(dp.atom_domain(T=dp.i64)), dp.l1_distance(T=dp.i64)


def add_noise(counts: Sequence[int], epsilon: Fraction) -> list[int]:
    """Return each of ``counts`` with discrete Laplace noise of scale 1/``epsilon``, drawn from the system's entropy.

    Epsilon-differentially private for whoever changes one count by one.
    """
    mechanism: Any = dp.m.make_laplace(*_SPACE, scale=float(1 / epsilon))
    if mechanism.map(1) > float(epsilon):
        raise ValueError(f"OpenDP vouches for {mechanism.map(1)}, not for {epsilon}")
    return [int(value) for value in mechanism(list(counts))]
