"""Methods that train several replicas of a network, drawn to one another: quantum-inspired training.

Annealing by path integrals couples copies of a system along a ring, as the slices of imaginary time are;
its classical control draws each to their mean, as a star. All start alike and see batches of their own:
with the same they would stay alike. Rounding each by STE and deploying their mean are ours.
"""

from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from t0qat.quantization.layers import Weights, by_channel
from t0qat.quantization.quantizers import Grid
from t0qat.training.rounders import straight_rounding
from t0qat.training.views import Method, Objective, before_steps

REPLICAS = 5  # of three, a ring is a star of three times its strength


def ring(bits: int = 4, rho: float = 0.1, replicas: int = REPLICAS) -> Objective:
    """sum_k loss(Q(W_k)) + rho t / 2 sum_k |W_k - W_{k+1}|**2, k + 1 modulo replicas; Q as in ste.

    t: the share of the steps that is done. The network is the replicas' mean. Source: Ohzeki et al.
    (2018), 10.1038/s41598-018-28212-4, arXiv 1807.00414.
    """
    return coupled(bits, rho, replicas, lambda w: w - w.roll(-1, 0))


def star(bits: int = 4, rho: float = 0.1, replicas: int = REPLICAS) -> Objective:
    """sum_k loss(Q(W_k)) + rho t / 2 sum_k |W_k - mean|**2, as `ring` otherwise.

    Source: Pittorino et al. (2021), arXiv 2006.07897; Baldassi & Zecchina (2018), arXiv 1706.08470,
    compare the two.
    """
    return coupled(bits, rho, replicas, lambda w: w - w.mean(0))


def coupled(bits: int, rho: float, replicas: int, apart) -> Objective:
    """apart: weights (replicas, ...) -> what the coupling squares and sums."""
    see, done = partial(straight_rounding, grid=Grid(bits)), [0.0]
    own: Weights = {}  # the network's
    each: list[Weights] = []

    def extra(weights: Weights) -> Weights:
        own.clear()
        own.update({name: p for name, p in weights.items() if p.requires_grad})
        each[:] = [
            {name: p.detach().clone().requires_grad_() for name, p in own.items()}
            for _ in range(replicas)
        ]
        return {f"replicas.{k}.{name}": p for k, w in enumerate(each) for name, p in w.items()}

    def value(loss, weights, draws) -> Tensor:
        total = sum(loss(w | by_channel(see, w), k) for k, w in enumerate(each))
        if rho and done[0]:
            pull = sum(apart(torch.stack([w[name] for w in each])).square().sum() for name in own)
            total = total + rho * done[0] / 2 * pull
        return total

    def rise(optimizer, share):
        done[0] = share

    @torch.no_grad()
    def deploy(*_):
        for name, p in own.items():
            p.copy_(torch.stack([w[name] for w in each]).mean(0))

    @contextmanager
    def around(optimizer, steps):
        done[0] = 0.0
        with before_steps(rise, optimizer, steps) as stepping:
            handle = stepping.register_step_post_hook(deploy)
            try:
                yield stepping
            finally:
                handle.remove()

    return Objective(value, extra, around=around, batches=replicas)


STRENGTHS = (0.01, 0.1, 1.0)
# Five gradients a step: a fifth of the steps. One width that costs little, and one that costs much.
METHODS = {
    "ring": Method(
        "Ring", ring, "coupled", REPLICAS, "rho", STRENGTHS, scale="absmax", widths=(4, 2),
        controls=("star", "ste"),
    ),
    "star": Method(
        "Star", star, "coupled", REPLICAS, "rho", STRENGTHS, scale="absmax", widths=(4, 2),
        controls=("ste",),
    ),
}  # fmt: skip
