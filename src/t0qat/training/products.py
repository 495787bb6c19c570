"""Matrix products by numpy's BLAS for networks on a CPU, which keeps the pin cheap.

Under the pin (see `pin`) MKL, which multiplies for torch, is two to four times slower; the BLAS of numpy
is not, and has the same bits on every pinned processor. Arrays share their memory with tensors.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


class _Product(torch.autograd.Function):
    """a @ b over the last two axes, with the same axes before them; float32 or float64, on the CPU."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _product(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        needs_a, needs_b = ctx.needs_input_grad
        return _product(slope, b.mT) if needs_a else None, _product(a.mT, slope) if needs_b else None


def _product(a: Tensor, b: Tensor) -> Tensor:
    return torch.from_numpy(a.detach().numpy() @ b.detach().numpy())


class Linear(nn.Linear):
    """nn.Linear; on a CPU its products are numpy's."""

    def forward(self, inputs: Tensor) -> Tensor:
        # In a graph for another runtime too it is an ordinary layer.
        if inputs.device.type != "cpu" or torch.compiler.is_exporting():
            return linear(inputs, self.weight, self.bias)
        flat = _Product.apply(inputs.flatten(0, -2), self.weight.T)
        return (flat if self.bias is None else flat + self.bias).unflatten(0, inputs.shape[:-1])
