"""Integer grids for weights: symmetric, uniform, 1 to 16 bits.

The last axis is what shares one scale: a whole tensor (flatten it), an output channel, a group.
Everything else is a batch axis. Ties round to the even code, as IEEE arithmetic and torch do.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A symmetric integer grid.

    bits: 1 to 16. range: "full" uses all 2**bits codes, -2**(bits-1) to 2**(bits-1) - 1 (torchao's
    convention); "narrow" drops the lowest, so codes and levels are symmetric (brevitas' default).
    scale: "absmax" lets the grid just span the largest magnitude; "mse" minimizes the squared
    rounding error. Raises ValueError for anything else, and for "narrow" with 1 bit, whose only
    code is 0.
    """

    bits: int
    range: str = "full"
    scale: str = "absmax"

    def __post_init__(self):
        if type(self.bits) is not int or not 1 <= self.bits <= 16:
            raise ValueError(f"bits = {self.bits!r}: allowed is a whole number from 1 to 16")
        if self.range not in CODES:
            raise ValueError(f"range = {self.range!r}: allowed is one of {', '.join(CODES)}")
        if self.scale not in SCALES:
            raise ValueError(f"scale = {self.scale!r}: allowed is one of {', '.join(SCALES)}")
        if self.range == "narrow" and self.bits == 1:
            raise ValueError("bits = 1: the narrow range needs 2 to 16 bits; use the full range")

    @property
    def codes(self) -> tuple[int, int]:
        """The lowest and the highest integer code: Grid(2).codes == (-2, 1)."""
        return CODES[self.range](self.bits)


CODES = {
    "full": lambda bits: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
    "narrow": lambda bits: (-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1),
}


HALF = 0.5  # offset of levels that lie on both sides of 0 alike: none is 0


def encode(weights: Tensor, scale: Tensor, grid: Grid, offset: float = 0.0) -> Tensor:
    """The code of the nearest level, scale * (code + offset), clipped; in the dtype of the weights."""
    return torch.round(weights / scale - offset).clamp(*grid.codes)


def absmax_scale(weights: Tensor, grid: Grid) -> Tensor:
    """Step with which the grid spans 2 * max|w|: shape (..., 1), units of the weights.

    Full range: 2 * max|w| / (2**bits - 1), as in torchao; narrow: max|w| / (2**(bits-1) - 1), as in
    brevitas. All-zero weights get step 1, so that their codes are 0.
    """
    low, high = grid.codes
    scale = 2 * weights.abs().amax(-1, keepdim=True) / (high - low)
    return torch.where(scale > 0, scale, 1.0)


# Bits -> half the range of least squared error for a standard normal weight and levels offset by HALF,
# as in the authors' code, whose search is 1 % off at 8 bits.
NORMAL_RANGE = {
    2: 1.4935346200015913, 3: 2.051068354131873, 4: 2.513930578568423, 5: 2.9160938834961225,
    6: 3.276597282593217, 7: 3.6010497188221655, 8: 3.884938678807525,
}  # fmt: skip


def normal_scale(weights: Tensor, grid: Grid) -> Tensor:
    """Step for levels offset by HALF that suits normal weights of this root mean square: (..., 1).

    2 c rms / (2**bits - 1), c of NORMAL_RANGE. Source: Panferov et al. (2025), "QuEST", arXiv
    2502.05003. bits: 2 to 8. All-zero weights get step 1.
    """
    scale = 2 * NORMAL_RANGE[grid.bits] / (2**grid.bits - 1) * rms(weights)
    return torch.where(scale > 0, scale, 1.0)


def rms(weights: Tensor) -> Tensor:
    """Root mean square over the last axis: (..., 1)."""
    # In double precision: torch's float32 square root is not the same on every processor.
    return weights.double().square().mean(-1, keepdim=True).sqrt().to(weights)


def upper_bits(weights: Tensor, grid: Grid, stored: int = 8) -> tuple[Tensor, Tensor]:
    """Upper bits of the codes on the absmax grid of so many bits, not clipped yet, and their step.

    round(q / 2**(stored - bits)); the step is that power of two times the stored one. Source: Nair et
    al. (2025), "Matryoshka Quantization", arXiv 2502.06786, here with signed codes and no zero point.
    """
    codes, scale = quantize(weights, Grid(stored))
    ratio = 2 ** (stored - grid.bits)
    return torch.round(codes / ratio), ratio * scale


# Of a search: how many starts beside the absmax step, and how many of them, the best, are refined.
EVERY, FEW = (66, 66), (27, 2)
TOGETHER = 2**18  # numbers at once, which stay in cache


def mse_scale(weights: Tensor, grid: Grid, search: tuple[int, int] = EVERY) -> Tensor:
    """Step of least squared rounding error, among fractions of the absmax step, then refined.

    For fixed codes q the best step is <w, q> / <q, q>; re-encoding and solving again never increases
    the error (Lloyd's iteration on a uniform grid). Shape (..., 1). Never worse than absmax_scale; the
    least possible up to about 4 bits for a handful of weights, near it beyond. FEW is a seventh of the
    work: the error is some thousandths larger up to 4 bits, a tenth for 32 weights at 8.
    """
    starts, refined = search
    rows = weights.reshape(-1, weights.shape[-1])
    parts = rows.split(max(1, TOGETHER // ((1 + starts) * rows.shape[1])))
    found = [_best_step(part, grid, starts, refined) for part in parts]
    return torch.cat(found).view(*weights.shape[:-1], 1)


def _best_step(rows: Tensor, grid: Grid, starts: int, refined: int) -> Tensor:
    """Of each of the rows (n, d), with all fractions side by side: (n, 1)."""
    first = absmax_scale(rows, grid)
    # Few bits want a wider or a much finer step than absmax; above 4 bits all is near it. In the type of
    # the weights: rounded to another, a start may lead elsewhere.
    fractions = torch.linspace(0.2, 1.5, starts, dtype=rows.dtype)
    scale = torch.cat([torch.ones_like(fractions[:1]), fractions]).to(rows)[:, None, None] * first
    buffers = [rows.new_empty(len(scale), *rows.shape) for _ in range(2)]

    def encoded() -> Tensor:
        return torch.div(rows, scale, out=buffers[0][: len(scale)]).round_().clamp_(*grid.codes)

    def total(a: Tensor, b: Tensor) -> Tensor:
        return torch.mul(a, b, out=buffers[1][: len(scale)]).sum(-1, keepdim=True)

    def missed() -> Tensor:
        return encoded().mul_(scale).sub_(rows).square_().sum(-1, keepdim=True)

    if refined < starts:
        best = missed()[1:].topk(refined, 0, largest=False).indices
        scale = torch.cat([first[None], scale[1:].gather(0, best)])
    for _ in range(3):
        codes = encoded()
        solved = total(rows, codes) / total(codes, codes)
        solved = torch.where(solved > 0, solved, scale)  # all codes 0: nothing to solve
        scale = torch.cat([first[None], solved[1:]])  # the first stays the absmax step
    return scale.gather(0, missed().argmin(0, keepdim=True))[0]


SCALES = {"absmax": absmax_scale, "mse": mse_scale}
LARGE = 2**18  # weights: in layers with more, these stand in for their namesakes, which take minutes
SCALES_OF_LARGE = {"mse": partial(mse_scale, search=FEW)}


def fitted(weights: Tensor, grid: Grid, layer: int = 0) -> Tensor:
    """Step (..., 1) by the grid's rule; layer: how many weights the layer has, if that may be LARGE."""
    rules = SCALES | SCALES_OF_LARGE if layer > LARGE else SCALES
    return rules[grid.scale](weights, grid)


def quantize(weights: Tensor, grid: Grid, layer: int = 0) -> tuple[Tensor, Tensor]:
    """Codes (like weights) and step (..., 1) of the grid fitted to the weights' last axis."""
    scale = fitted(weights, grid, layer)
    return encode(weights, scale, grid), scale


def fake_quantize(weights: Tensor, grid: Grid) -> Tensor:
    """The weights moved to their grid: `fake_quantize(tensor([.4, -1.]), Grid(2))` is [.667, -1.333]."""
    codes, scale = quantize(weights, grid)
    return codes * scale
