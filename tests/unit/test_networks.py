"""Tests of harness.networks."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from harness.architecture import ACTIVATIONS, NETWORK_NAMES, NORMS, POOLINGS, Architecture
from harness.errors import ConfigError, DataError
from harness.networks import BUILDERS, Network, build_network, count_parameters
from harness.networks.convnet import pooled_layers
from harness.networks.initialise import fill
from harness.networks.layers import AveragePool, make_norm

CIFAR10 = ((3, 32, 32), 10)
CIFAR100 = ((3, 32, 32), 100)
MNIST = ((1, 28, 28), 10)

# Published networks, counted for CIFAR10, CIFAR100 and MNIST.
COUNTS = {
    "mlp": (411_146, 422_756, 118_282),
    "convnet": (320_010, 504_420, 317_706),
    "lenet": (62_006, 69_656, 61_706),
    "alexnet": (1_872_202, 2_148_772, 1_865_802),
    "alexnet-bn": (1_874_122, 2_150_692, 1_867_722),
    "vgg11": (9_231_114, 9_277_284, 9_229_962),
    "vgg11-bn": (9_231_114, 9_277_284, 9_229_962),
    "resnet18": (11_173_962, 11_220_132, 11_172_810),
    "resnet18-bn": (11_173_962, 11_220_132, 11_172_810),
    "resnet18-ap": (11_250_762, 11_988_132, 11_213_770),
    "resnet18-bn-ap": (11_250_762, 11_988_132, 11_213_770),
    # As the layers of IDC's file add up: convolutions, norms (2 a channel), classifier.
    "resnet10-ap": (4_903_242, 4_949_412, 4_902_090),
    "alexnet-droppath": (1_872_202, 2_148_772, 1_865_802),
    # Shortcuts of 1x1: 128 to 256 and 256 to 512 channels, with biases.
    "vgg11-droppath": (9_395_722, 9_441_892, 9_394_570),
    # Shortcuts without norms: 2 * (128 + 256 + 512) numbers less.
    "resnet18-droppath": (11_172_170, 11_218_340, 11_171_018),
}

# Variants of the ConvNet, counted for CIFAR10.
CONVNET_COUNTS = {
    "convnet-d1": 331_530,
    "convnet-d2": 233_610,
    "convnet-d3": 320_010,
    "convnet-d4": 452_490,
    "convnet-d5": 596_490,
    "convnet-w32": 24_714,
    "convnet-w64": 86_282,
    "convnet-w128": 320_010,
    "convnet-w256": 1_229_834,
    "convnet-nonorm": 319_242,
    "convnet-batchnorm": 320_010,
    "convnet-groupnorm": 320_010,
    "convnet-layernorm": 663_306,
    "convnet-d1-layernorm": 593_418,
    "convnet-nopooling": 1_610_250,
    "convnet-maxpooling": 320_010,
    **{f"convnet-{activation}": 320_010 for activation in ACTIVATIONS},
}

# Every part of a ConvNet, small enough to run in milliseconds.
CONVNETS = [
    *(f"convnet-w8-{activation}" for activation in ACTIVATIONS),
    *(f"convnet-w8-{'nonorm' if norm == 'none' else norm}" for norm in NORMS),
    *(f"convnet-w8-{'nopooling' if pooling == 'none' else pooling}" for pooling in POOLINGS),
    *(f"convnet-w8-d{depth}" for depth in (1, 2, 3, 4, 5, 6, 7, 10)),
    *(f"convnet-w8-d{depth}-layernorm" for depth in (1, 5, 8)),
    "convnet-w8-d7-nopooling",
]


def build(
    label: str,
    in_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    seed: int = 0,
) -> Network:
    return build_network(
        Architecture.parse(label),
        in_shape=in_shape,
        classes=classes,
        generator=torch.Generator().manual_seed(seed),
    )


def count(label: str, in_shape: tuple[int, int, int], classes: int) -> int:
    """Count without the time that filling millions of weights takes."""
    architecture = Architecture.parse(label)
    with torch.device("meta"):
        return count_parameters(BUILDERS[architecture.name](architecture, in_shape, classes))


def images(n: int, in_shape: tuple[int, int, int], seed: int = 1) -> Tensor:
    return torch.randn(n, *in_shape, generator=torch.Generator().manual_seed(seed))


def same(left: nn.Module, right: nn.Module) -> bool:
    one, two = left.state_dict(), right.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture
def nan_memory() -> Iterator[None]:
    """Make torch fill fresh memory with NaN, or with the largest integer."""
    settings = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), settings.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("error")
    settings.fill_uninitialized_memory = True
    yield
    torch.set_deterministic_debug_mode(before[0])
    settings.fill_uninitialized_memory = before[1]


@pytest.fixture
def global_rng() -> Iterator[None]:
    """Put the global generator back."""
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)


def test_every_name_has_a_builder() -> None:
    assert tuple(BUILDERS) == NETWORK_NAMES


@pytest.mark.parametrize("label", COUNTS)
def test_counts_are_the_published_ones(label: str) -> None:
    assert tuple(count(label, *data) for data in (CIFAR10, CIFAR100, MNIST)) == COUNTS[label]


def test_counts_cover_every_name() -> None:
    assert set(COUNTS) == set(NETWORK_NAMES)


@pytest.mark.parametrize("label", CONVNET_COUNTS)
def test_counts_of_convnet_variants(label: str) -> None:
    assert count(label, *CIFAR10) == CONVNET_COUNTS[label]


def test_a_built_network_has_the_counted_parameters() -> None:
    network = build("convnet")
    assert count_parameters(network) == 320_010
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("in_shape", [(3, 32, 32), (1, 28, 28), (1, 32, 32), (3, 28, 28)])
@pytest.mark.parametrize("label", [*NETWORK_NAMES, *CONVNETS])
def test_forward_gives_logits_of_the_features(label: str, in_shape: tuple[int, int, int]) -> None:
    network = build(label, in_shape, classes=7)
    x = images(2, in_shape)
    with torch.no_grad():
        network.eval()  # batch norm then treats both calls alike
        features, logits = network.features(x), network(x)
        assert torch.equal(logits, network.classifier(features))
    assert features.shape == (2, network.classifier.in_features)
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("label", "in_shape", "features"),
    [
        ("convnet", (3, 32, 32), 2048),
        ("convnet", (1, 28, 28), 2048),
        ("convnet-d5", (3, 32, 32), 128),
        ("convnet-d3-nopooling", (3, 32, 32), 131_072),
        ("mlp", (1, 28, 28), 128),
        ("lenet", (1, 28, 28), 84),
        ("alexnet", (1, 28, 28), 3072),
        ("vgg11", (1, 28, 28), 512),
        ("resnet18", (1, 28, 28), 512),
        ("resnet18-ap", (3, 32, 32), 8192),
        ("resnet18-ap", (1, 28, 28), 4608),
        ("resnet10-ap", (1, 28, 28), 512),
        # Published for TinyImageNet (depth 4) and ImageNet subsets (depth 5): still 2048.
        ("convnet-d4", (3, 64, 64), 2048),
        ("convnet-d5", (3, 128, 128), 2048),
        ("lenet", (3, 64, 64), 84),
        ("alexnet", (3, 64, 64), 12_288),
        ("alexnet", (3, 128, 128), 49_152),
        ("vgg11", (3, 64, 64), 2048),
        ("vgg11", (3, 128, 128), 8192),
        ("resnet18", (3, 64, 64), 2048),
        ("resnet18", (3, 128, 128), 8192),
        ("resnet18-ap", (3, 64, 64), 32_768),
        ("resnet10-ap", (3, 64, 64), 512),
        ("resnet10-ap", (3, 128, 128), 512),
    ],
)
def test_number_of_features(label: str, in_shape: tuple[int, int, int], features: int) -> None:
    architecture = Architecture.parse(label)
    with torch.device("meta"):
        network = BUILDERS[architecture.name](architecture, in_shape, 10)
    assert network.classifier.in_features == features


@pytest.mark.parametrize(
    ("label", "padding"),
    [
        ("convnet", (1, 3)),
        ("vgg11", (1, 3)),
        ("alexnet", (2, 4)),
        ("lenet", (0, 2)),
        ("resnet18", (1, 1)),
        ("resnet18-ap", (1, 1)),
    ],
)
def test_first_convolution_pads_28_to_32(label: str, padding: tuple[int, int]) -> None:
    architecture = Architecture.parse(label)
    for side, expected in zip((32, 28), padding, strict=True):
        with torch.device("meta"):
            network = BUILDERS[architecture.name](architecture, (1, side, side), 10)
        first, *others = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert first.padding == (expected, expected)
        assert all(conv.padding in ((0, 0), (1, 1), (2, 2)) for conv in others)


LARGE = ((3, 64, 64), (3, 128, 128))


@pytest.mark.parametrize("in_shape", LARGE)
@pytest.mark.parametrize(
    "label", [*NETWORK_NAMES[1:], "convnet-w8-d4", "convnet-w8-d5-layernorm", "convnet-w8-d7"]
)
def test_large_images_fit_every_network(label: str, in_shape: tuple[int, int, int]) -> None:
    architecture = Architecture.parse(label)
    with torch.device("meta"):  # shapes alone: the numbers of such networks take seconds
        network = BUILDERS[architecture.name](architecture, in_shape, 200)
        x = torch.empty(2, *in_shape)
        assert network.features(x).shape == (2, network.classifier.in_features)
        assert network(x).shape == (2, 200)


def test_tiny_imagenet_s_convnet_has_the_published_count() -> None:
    assert count("convnet-d4", (3, 64, 64), 200) == 857_160


@pytest.mark.parametrize("label", ["lenet", "convnet-w4-d5", "mlp"])
@pytest.mark.parametrize("in_shape", LARGE)
def test_large_images_give_finite_logits(label: str, in_shape: tuple[int, int, int]) -> None:
    network = build(label, in_shape, classes=4)
    with torch.no_grad():
        one, two = network(images(2, in_shape))
    assert one.isfinite().all()
    assert (one - two).abs().max() > 1e-4


def test_resnet10_ap_halves_large_images_in_its_stem() -> None:
    for side, pools, last in ((32, 3, 4), (64, 3, 8), (128, 4, 8)):
        with torch.device("meta"):
            network = BUILDERS["resnet10-ap"](Architecture(name="resnet10-ap"), (3, side, side), 10)
            maps = network.body[:-1](torch.empty(1, 3, side, side))  # type: ignore[index]
        halving = [m for m in network.modules() if isinstance(m, AveragePool)]
        assert len(halving) == pools + 3  # those of three shortcuts
        assert maps.shape == (1, 512, last, last)


def test_parameters_go_from_input_to_output() -> None:
    names = [name for name, _ in build("convnet-w8-d2").named_parameters()]
    layers = ["body.conv1", "body.norm1", "body.conv2", "body.norm2", "classifier"]
    assert names == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


@pytest.mark.parametrize(
    ("depth", "layers"),
    [
        (1, (1,)),
        (3, (1, 2, 3)),
        (5, (1, 2, 3, 4, 5)),
        (6, (2, 4, 6)),
        (7, (3, 5, 7)),
        (8, (3, 6, 8)),
        (10, (4, 7, 10)),
        (20, (7, 14, 20)),
        (30, (10, 20, 30)),
    ],
)
def test_pooled_layers(depth: int, layers: tuple[int, ...]) -> None:
    assert pooled_layers(depth) == layers


def test_stages_of_a_deep_convnet_are_equal() -> None:
    for depth in range(6, 65):
        stages = [b - a for a, b in pairwise((0, *pooled_layers(depth)))]
        assert sum(stages) == depth
        assert max(stages) - min(stages) <= 1


@pytest.mark.parametrize("pooling", ["avgpooling", "maxpooling"])
@pytest.mark.parametrize("depth", [6, 10, 20, 30])
def test_a_deep_convnet_ends_in_4x4_and_sees_the_image(depth: int, pooling: str) -> None:
    label = f"convnet-w16-d{depth}-{pooling}"
    network = build(label)
    pools = [m for m in network.modules() if isinstance(m, nn.AvgPool2d | nn.MaxPool2d)]
    assert len(pools) == 3
    with torch.no_grad():
        assert network.body(images(1, (3, 32, 32))).shape == (1, 16, 4, 4)
        one, two = network(images(2, (3, 32, 32)))
    assert (one - two).abs().max() > 1e-3


def test_depth_5_ends_in_1x1() -> None:
    with torch.no_grad():
        assert build("convnet-w8-d5").body(images(1, (3, 32, 32))).shape == (1, 8, 1, 1)


def test_no_pooling_keeps_the_size_at_any_depth() -> None:
    with torch.no_grad():
        body = build("convnet-w8-d7-nopooling").body
        assert body(images(1, (1, 28, 28)).expand(1, 3, 28, 28)).shape == (1, 8, 28, 28)
        assert body(images(1, (3, 32, 32))).shape == (1, 8, 32, 32)


def test_layernorm_has_the_size_before_the_pooling() -> None:
    norms = [m for m in build("convnet-w8-layernorm").modules() if isinstance(m, nn.LayerNorm)]
    assert [norm.normalized_shape for norm in norms] == [(8, 32, 32), (8, 16, 16), (8, 8, 8)]


def test_instancenorm_is_a_group_norm_of_single_channels() -> None:
    network = build("convnet-w8")
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert [(norm.num_groups, norm.num_channels) for norm in norms] == [(8, 8)] * 3
    assert not list(network.buffers())
    x = images(3, (3, 32, 32))
    with torch.no_grad():
        assert torch.equal(network.train()(x), network.eval()(x))


def test_groupnorm_has_four_groups() -> None:
    norms = [m for m in build("convnet-w8-groupnorm").modules() if isinstance(m, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [4, 4, 4]


def test_groupnorm_needs_a_width_of_whole_groups() -> None:
    with pytest.raises(ConfigError, match=r"network\.width: got 30, expected a multiple of 4 .*;"):
        build("convnet-w30-groupnorm")


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", 0.0),
        ("sigmoid", 1 / (1 + math.exp(2))),
        ("leakyrelu", -0.02),
        ("swish", -2 / (1 + math.exp(2))),
    ],
)
def test_activations(activation: str, expected: float) -> None:
    act = build(f"convnet-w8-d1-{activation}").body.get_submodule("act1")
    torch.testing.assert_close(act(torch.tensor(-2.0)), torch.tensor(expected))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pooling", ["avgpooling", "maxpooling"])
def test_convnets_can_be_differentiated_twice(activation: str, pooling: str) -> None:
    network = build(f"convnet-w8-d2-{activation}-{pooling}")
    x = images(2, (3, 32, 32)).requires_grad_()
    loss = network(x).logsumexp(1).sum()
    gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    (twice,) = torch.autograd.grad(torch.stack([g.square().sum() for g in gradients]).sum(), x)
    assert twice.isfinite().all()
    assert twice.abs().max() > 0


@pytest.mark.parametrize("label", [*NETWORK_NAMES, "convnet-layernorm", "convnet-batchnorm"])
def test_weights_are_those_of_torchs_constructors(label: str, global_rng: None) -> None:
    architecture = Architecture.parse(label)
    torch.manual_seed(5)
    theirs = BUILDERS[architecture.name](architecture, (3, 32, 32), 10)
    assert same(build(label, seed=5), theirs)


def test_weights_and_biases_are_uniform_within_fan_in() -> None:
    network = build("convnet")
    for module, fan_in in [
        (network.body.get_submodule("conv2"), 128 * 9),
        (network.classifier, 2048),
    ]:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        bound = 1 / math.sqrt(fan_in)
        weight = module.weight.detach()
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.99 * bound
        assert abs(weight.mean()) < 0.02 * bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert module.bias is not None
        assert module.bias.abs().max() <= bound
        assert module.bias.detach().std() > 0.3 * bound


@pytest.mark.parametrize("label", [*NETWORK_NAMES, *CONVNETS])
def test_no_uninitialised_memory_is_left(label: str, nan_memory: None) -> None:
    assert torch.empty(3).isnan().all()  # else this test would prove nothing
    for name, tensor in build(label).state_dict().items():
        assert tensor.device.type == "cpu", name
        assert tensor.isfinite().all(), name
        assert (tensor < torch.iinfo(torch.int64).max).all(), name


def test_batch_norm_starts_from_fresh_statistics(nan_memory: None) -> None:
    norms = [m for m in build("resnet18-bn").modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 20
    for norm in norms:
        assert norm.momentum == 0.1
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert (norm.running_mean == 0).all()
        assert (norm.running_var == 1).all()
        assert norm.num_batches_tracked == 0
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()


def test_a_layer_without_a_rule_is_refused() -> None:
    with pytest.raises(AssertionError, match="1: no rule to initialise a PReLU"):
        fill(nn.Sequential(nn.Linear(2, 2), nn.PReLU()), torch.Generator())


@pytest.mark.parametrize("label", ["convnet-batchnorm", "resnet18-ap"])
def test_same_seed_gives_same_bits(label: str) -> None:
    assert same(build(label, seed=7), build(label, seed=7))
    assert not same(build(label, seed=7), build(label, seed=8))


def test_one_generator_gives_a_new_network_each_time() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (
        build_network(Architecture(), in_shape=(3, 32, 32), classes=10, generator=generator)
        for _ in range(2)
    )
    assert not same(one, two)


@pytest.mark.parametrize("label", NETWORK_NAMES)
def test_the_global_generator_is_neither_read_nor_moved(label: str, global_rng: None) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(label)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(build(label), first)


@pytest.mark.parametrize("label", NETWORK_NAMES)
def test_other_sizes_say_what_to_change(label: str) -> None:
    expected = (
        f"network '{label}': got images of 3x96x96, expected 28x28, 32x32, 64x64 or 128x128 "
        "pixels and at least one channel; set dataset.resize, or resize or pad the images"
    )
    with pytest.raises(DataError) as caught:
        build(label, (3, 96, 96))
    assert str(caught.value) == expected


@pytest.mark.parametrize("in_shape", [(3, 28, 32), (3, 32, 28), (0, 32, 32), (3, 30, 30)])
def test_odd_shapes_are_refused(in_shape: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="expected 28x28, 32x32, 64x64 or 128x128 pixels"):
        build("convnet", in_shape)


@pytest.mark.parametrize("side", [2, 7, 8])
def test_average_pooling_is_torch_s(side: int) -> None:
    images = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    pooled, expected = AveragePool()(images), nn.functional.avg_pool2d(images, 2)
    torch.testing.assert_close(pooled, expected, rtol=1e-14, atol=1e-14)
    gradients = [torch.autograd.grad((y**2).sum(), images)[0] for y in (pooled, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-14, atol=1e-14)


def test_layer_norm_is_torch_s() -> None:
    norm = make_norm("layernorm", 3, 4).double()
    assert isinstance(norm, nn.LayerNorm)
    with torch.no_grad():
        norm.weight.normal_(generator=torch.Generator().manual_seed(0))
        norm.bias.normal_(generator=torch.Generator().manual_seed(1))
    maps = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected = nn.functional.layer_norm(maps, [3, 4, 4], norm.weight, norm.bias)
    torch.testing.assert_close(norm(maps), expected, rtol=1e-12, atol=1e-12)
