"""DC draws what a scheduled pool says, also where its state was loaded."""

from typing import Any

import torch

from harness.config import make_config
from harness.datasets import ImageData
from harness.distill import Distiller, build_distiller
from harness.pool import ModelPool

SETTINGS: dict[str, Any] = {
    "iterations": 12,
    "batch_real": 4,
    "network": {"width": 4, "depth": 1},
    "pool": {
        "schedule": "linear",
        "main_probability": 0.0,
        "warmup": 2,
        "others": [{"network": "mlp", "weight": 1.0}],
    },
}


def test_dc_draws_by_the_schedule(tiny: ImageData) -> None:
    config = make_config(SETTINGS)

    def start() -> Distiller:
        return build_distiller(config, tiny, torch.device("cpu"))

    whole, first, resumed = start(), start(), start()
    for _ in range(12):
        whole.step()
    for _ in range(5):
        first.step()
    resumed.load_state_dict(first.state_dict())
    for _ in range(7):
        resumed.step()
    pool = ModelPool(config.pool, config.network, config.seed, 12)
    expected = [pool.draw(iteration) for iteration in range(12)]
    assert whole.draws == resumed.draws == expected
    assert expected[:3] == 3 * [config.network]
    assert expected[-1].label == "mlp"
