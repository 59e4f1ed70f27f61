"""Initialisation: random weights from an explicit generator, never from a global one."""

import math

import torch
from torch import nn


@torch.no_grad()
def fill(network: nn.Module, generator: torch.Generator) -> None:
    """Overwrite every parameter and buffer as torch's own constructors would.

    Weights of convolutions and linear layers are Kaiming-uniform with a = sqrt(5), that is
    uniform in +-1 / sqrt(fan_in), and so are their biases; norms start as the identity, and the
    statistics of batch norm as mean 0, variance 1. The numbers drawn are those that the
    constructors would draw from a global generator in the same state.

    Args:
        network: Its tensors may hold anything before, uninitialised memory included.
        generator: On the device of the network (the CPU, as ``build_network`` uses it); it
            moves on by one draw for each random number.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _fill_linear(module, generator)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        else:
            # A layer added without a rule here would keep whatever its memory held.
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            assert not own, f"{name}: no rule to initialise a {type(module).__name__}"


def _fill_linear(module: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Draw the weight, then the bias, in the order of torch's ``reset_parameters``."""
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())  # fan_in
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)
