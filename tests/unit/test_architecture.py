"""Tests of harness.architecture."""

from itertools import product

import pytest
from pydantic import ValidationError

from harness.architecture import ACTIVATIONS, NETWORK_NAMES, NORMS, POOLINGS, Architecture
from harness.errors import ConfigError

CONVNETS = [
    Architecture(width=width, depth=depth, activation=activation, norm=norm, pooling=pooling)
    for width, depth, activation, norm, pooling in product(
        (1, 32, 128, 4096), (1, 3, 64), ACTIVATIONS, NORMS, POOLINGS
    )
]
NAMED = [Architecture(name=name) for name in NETWORK_NAMES]


def test_every_label_reads_back() -> None:
    for architecture in (*CONVNETS, *NAMED):
        assert Architecture.parse(architecture.label) == architecture


def test_labels_are_unique_and_safe_in_file_names() -> None:
    labels = {architecture.label for architecture in (*CONVNETS, *NAMED)}
    assert len(labels) == len({*CONVNETS, *NAMED})
    assert all(label.replace("-", "").isalnum() for label in labels)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "convnet"),
        ({"name": "resnet18-bn-ap"}, "resnet18-bn-ap"),
        ({"width": 32, "depth": 4, "activation": "sigmoid"}, "convnet-w32-d4-sigmoid"),
        ({"norm": "none", "pooling": "none"}, "convnet-nonorm-nopooling"),
        ({"pooling": "maxpooling", "norm": "batchnorm"}, "convnet-batchnorm-maxpooling"),
    ],
)
def test_label(fields: dict[str, object], label: str) -> None:
    assert Architecture.model_validate(fields).label == label


@pytest.mark.parametrize(
    ("label", "same_as"),
    [
        ("convnet-w128-d3-relu-instancenorm-avgpooling", "convnet"),
        ("convnet-maxpooling-w32", "convnet-w32-maxpooling"),
        ("convnet-w032", "convnet-w32"),
    ],
)
def test_parts_may_come_in_any_order_and_name_defaults(label: str, same_as: str) -> None:
    assert Architecture.parse(label).label == same_as


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (
            "lenett",
            "network 'lenett': did you mean 'lenet'? known: alexnet, alexnet-bn, alexnet-droppath",
        ),
        ("mlp-w3", "network 'mlp-w3': did you mean 'mlp'?"),
        ("", "network '': known: alexnet"),
        ("convnet-sigmod", "unknown part 'sigmod'; did you mean 'sigmoid'? known: avgpooling"),
        ("convnet-none", "unknown part 'none'; did you mean 'nonorm'?"),
        ("convnet-", "network 'convnet-': unknown part ''"),
        ("convnet-w100000", "unknown part 'w100000'"),
        ("convnet-w-3", "unknown part 'w'"),
        ("convnet-w32-w64", "network 'convnet-w32-w64': width is given twice; keep one of them"),
        ("convnet-relu-swish", "activation is given twice; keep one of them"),
        ("convnet-w0", "network 'convnet-w0': width must be 1 to 4096 and depth 1 to 64"),
        ("convnet-d65", "network 'convnet-d65': width must be 1 to 4096 and depth 1 to 64"),
    ],
)
def test_wrong_labels(label: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Architecture.parse(label)
    assert words in str(caught.value)


def test_unknown_parts_list_all_that_are_known() -> None:
    with pytest.raises(ConfigError) as caught:
        Architecture.parse("convnet-tanh")
    known = str(caught.value).partition("known: ")[2].split(", ")
    assert {"w<width>", "d<depth>", "nonorm", "nopooling", *ACTIVATIONS} <= set(known)


@pytest.mark.parametrize("field", ["width", "depth", "activation", "norm", "pooling"])
def test_only_a_convnet_has_the_five_properties(field: str) -> None:
    values = {
        "width": 64,
        "depth": 2,
        "activation": "swish",
        "norm": "none",
        "pooling": "maxpooling",
    }
    with pytest.raises(ValidationError, match=rf"network\.{field}: got .* only 'convnet' has a"):
        Architecture.model_validate({"name": "mlp", field: values[field]})


@pytest.mark.parametrize("fields", [{"width": "32"}, {"width": True}, {"depth": 3.0}, {"dept": 3}])
def test_nothing_is_converted_and_no_key_is_unknown(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Architecture.model_validate(fields)


def test_architectures_are_values() -> None:
    main = Architecture()
    assert len({main, Architecture(), Architecture(width=64)}) == 2
    with pytest.raises(ValidationError, match="frozen"):
        main.width = 64
