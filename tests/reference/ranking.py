"""LRS and ARS, term by term, as arXiv 2505.13300 writes them."""

from math import e


def scale(x: float) -> float:
    return (e**x - e**-1) / (e**1 - e**-1)


def lrs(real_hard: float, syn_hard: float, syn_any: float, random_any: float) -> float:
    hlr = real_hard - syn_hard
    ior = syn_any - random_any
    return scale(0.5 * ior - 0.5 * hlr)


def ars(syn_aug: float, random_aug: float, syn_plain: float, random_plain: float) -> float:
    return scale(0.5 * (syn_aug - random_aug) + 0.5 * (syn_plain - random_plain))
