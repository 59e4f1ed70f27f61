"""Weight gradients of several classes from one forward and one backward pass.

The gradients to the layers' outputs are taken once for all images; each class's weight gradient
is then that of its own rows. On a GPU this launches a tenth of the kernels of a loop over classes;
on the CPU the loop is as fast (benchmarks, ``matching``).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, group_norm
from torch.nn.grad import conv2d_weight

from harness.config import Precision
from harness.networks.layers import LayerNorm


class _Pass(NamedTuple):
    """What a layer read and gave in one forward pass."""

    layer: nn.Module
    input: Tensor
    output: Tensor


def gradients_by_class(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    sizes: Sequence[int],
    precision: Precision,
) -> tuple[Tensor, ...]:
    """Gradients of the parameters of rank 2 and more, for each class on its own images.

    Args:
        network: Of convolutions, linear layers and norms that keep images apart (batch norms in
            evaluation mode), each used once in a pass.
        images: Real images [N, C, H, W], grouped by class.
        labels: Int64 [G], the class of each group.
        sizes: Images of each group; they sum to N.
        precision: ``bf16-real`` computes in bfloat16.

    Returns:
        One tensor [G, ...] a parameter, in ``parameters()`` order and the parameter's dtype.
    """
    half = precision == "bf16-real"
    assert sum(sizes) == len(images)
    targets = torch.cat(
        [label.expand(n) for label, n in zip(torch.split(labels, 1), sizes, strict=True)]
    )
    shares = torch.cat([images.new_full((n,), 1 / n) for n in sizes])
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
        with _recorded(network) as passes:
            logits = network(images)
        loss = (cross_entropy(logits, targets, reduction="none") * shares).sum()
    gradients = torch.autograd.grad(loss, [item.output for item in passes])
    found: dict[Tensor, Tensor] = {}
    for item, gradient in zip(passes, gradients, strict=True):
        found.update(_by_class(item, gradient, list(sizes)))
    return tuple(found[weight] for weight in network.parameters() if weight.ndim >= 2)


def _by_class(item: _Pass, gradient: Tensor, sizes: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a layer's parameters, each with its gradients on the rows of each class."""
    inputs = torch.split(item.input.detach().to(gradient.dtype), sizes)
    for name, rule in _RULES[type(item.layer)].items():
        parameter: Tensor = getattr(item.layer, name)
        rows = zip(inputs, torch.split(gradient, sizes), strict=True)
        by_class = torch.stack([rule(item.layer, x, g) for x, g in rows])
        yield parameter, by_class.to(parameter.dtype)


def _convolution(layer: nn.Conv2d, x: Tensor, gradient: Tensor) -> Tensor:
    weight: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
        x,
        layer.weight.shape,
        gradient,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )
    return weight


def _normalised(layer: LayerNorm, x: Tensor, gradient: Tensor) -> Tensor:
    return (group_norm(x, 1, eps=layer.eps) * gradient).sum(0)


_RULES: dict[type[nn.Module], dict[str, Callable[..., Tensor]]] = {
    nn.Conv2d: {"weight": _convolution},
    nn.Linear: {"weight": lambda _, x, gradient: gradient.T @ x},
    LayerNorm: {"weight": _normalised, "bias": lambda _, x, gradient: gradient.sum(0)},
}
"""Layer -> the gradient of each of its parameters that count, from (layer, input [B, ...],
gradient to the output [B, ...])."""


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[_Pass]]:
    """Keep inputs and outputs of the layers whose weights count, while a pass runs."""
    passes: list[_Pass] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        passes.append(_Pass(layer, inputs[0], output))

    layers = [module for module in network.modules() if _counts(module)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()


def _counts(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2
