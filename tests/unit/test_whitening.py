"""Tests of the pixel space ``zca``."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.config import DatasetSettings
from harness.datasets import ImageData, load_dataset, whitening
from harness.datasets.whitening import EPSILON, Whitened, fit, load_or_fit
from harness.errors import DataError
from tests.reference import zca as reference


def draw(n: int = 700) -> torch.Tensor:
    """Smooth images, uint8 [n, 3, 4, 4], so that neighbouring pixels are alike."""
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(n, 3, 2, 2, generator=rng)
    large = torch.nn.functional.interpolate(small, size=4, mode="bilinear")
    return (large * 255).round().byte()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    images = draw(60).permute(0, 2, 3, 1).numpy()
    for i, pixels in enumerate(images):
        folder = tmp_path / "images" / ("train" if i < 40 else "test") / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return tmp_path / "images"


def load(root: Path, protocol: str = "held-out", pixels: str = "zca") -> ImageData:
    settings = {"name": "imagefolder", "root": str(root), "pixels": pixels}
    return load_dataset(DatasetSettings.model_validate(settings), protocol=protocol)


@pytest.mark.parametrize("of_bytes", [True, False])
@pytest.mark.parametrize("rows", [None, torch.arange(0, 600, 2)])
def test_it_is_the_published_transform(of_bytes: bool, rows: torch.Tensor | None) -> None:
    images = draw() if of_bytes else draw().float() / 255
    made = fit(images, rows, name="x")
    table = (draw() if rows is None else draw()[rows]).flatten(1).double().numpy() / 255
    mean, forward, backward = reference.fit(table, EPSILON)
    for ours, theirs in zip(
        (made.mean, made.forward, made.backward), (mean, forward, backward), strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6, rtol=2e-6)
    expected = (table[:5] - mean) @ forward
    given = made.apply(torch.from_numpy(table[:5]).float().reshape(5, 3, 4, 4))
    np.testing.assert_allclose(given.flatten(1).numpy(), expected, atol=1e-5)


def test_the_inverse_gives_the_pixels_back() -> None:
    made = fit(draw(), None, name="x")
    pixels = draw(9).float() / 255
    torch.testing.assert_close(made.inverse(made.apply(pixels)), pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.inverse(made.apply(pixels[0])), pixels[0], atol=1e-5, rtol=0)


def test_bytes_are_summed_exactly() -> None:
    images = torch.full((700, 1, 3, 3), 255, dtype=torch.uint8)
    images[::2, 0, 0, 0] = 254
    _, covariance = whitening._covariance(images, None)
    assert covariance[1:, 1:].abs().max() == 0
    assert covariance[0, 0] == pytest.approx(0.25 * 700 / 699 / 255**2, rel=1e-9)


def test_threads_do_not_change_a_bit() -> None:
    before = torch.get_num_threads()
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made.append(fit(draw(), None, name="x"))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(made[0].forward, made[1].forward)
    assert torch.equal(made[0].backward, made[1].backward)


def test_large_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"dataset\.pixels: got 'zca' for 2 .* of 12288 values in"):
        fit(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), None, name="x")
    with pytest.raises(DataError, match="expected at least 2 images"):
        fit(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), None, name="x")


def test_whitened_images_answer_as_a_tensor_would() -> None:
    made = fit(draw(), None, name="x")
    rows = torch.tensor([5, 3, 3])
    images = Whitened(draw(), made, rows)
    expected = made.apply(draw()[rows].float() / 255)
    assert torch.equal(images[:], expected)
    assert torch.equal(images.tensor(), expected)
    assert torch.equal(images[torch.tensor([2, 0])], expected[[2, 0]])
    assert torch.equal(torch.stack(list(images)), expected)
    assert images.shape == (3, 3, 4, 4)
    assert images.to("cpu") is images
    assert images.to("meta").device.type == "meta"


def test_a_dataset_in_zca_space(root: Path) -> None:
    data, plain = load(root), load(root, pixels="normalised")
    assert data.pixels == "zca"
    assert plain.pixels == "normalised"
    assert data.checksum != plain.checksum
    for ours, theirs in ((data.train, plain.train), (data.test, plain.test)):
        pixels = plain.denormalise(theirs.images[:])
        torch.testing.assert_close(data.denormalise(ours.images[:]), pixels, atol=1e-5, rtol=0)
        torch.testing.assert_close(data.from_unit(pixels), ours.images[:], atol=1e-5, rtol=0)
        assert torch.equal(ours.labels, theirs.labels)
    torch.testing.assert_close(
        plain.from_unit(plain.to_unit(plain.test.images[:])), plain.test.images[:]
    )


def test_one_space_for_both_protocols(root: Path) -> None:
    held_out, paper = load(root), load(root, "paper")
    assert held_out.whitening is not None
    assert paper.whitening is not None
    assert torch.equal(held_out.whitening.forward, paper.whitening.forward)
    digits = [
        load_dataset(DatasetSettings(pixels="zca"), protocol=protocol).whitening
        for protocol in ("held-out", "paper")
    ]
    assert digits[0] is not None
    assert digits[1] is not None
    assert torch.equal(digits[0].forward, digits[1].forward)


def test_the_transform_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(root)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(whitening, "fit", refuse)
    again = load(root)
    assert first.whitening is not None
    assert again.whitening is not None
    assert torch.equal(first.whitening.backward, again.whitening.backward)
    assert torch.equal(first.test.images[:], again.test.images[:])


def test_a_broken_file_of_it_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "zca.safetensors"
    path.write_bytes(b"broken")
    made = load_or_fit(path, draw(), None, name="x")
    assert torch.equal(load_or_fit(path, draw(), None, name="x").forward, made.forward)


def test_a_trial_in_zca_space_records_it(tmp_path: Path) -> None:
    from harness.config import make_config
    from harness.synthetic import load_synthetic
    from harness.trial import Context, run_trial

    config = make_config(
        {
            "dataset": {"pixels": "zca"},
            "iterations": 1,
            "batch_real": 4,
            "network": {"width": 4, "depth": 1},
            "evaluation": {"students": ["mlp"], "student_seeds": 1, "epochs": 1},
        }
    )
    data = load_dataset(config.dataset, protocol=config.protocol)
    context = Context(tmp_path, torch.device("cpu"), data, "t")
    record = run_trial(config, context)
    made = load_synthetic(tmp_path / "distilled.safetensors")
    assert record["status"] == "ok"
    assert made.provenance["pixels"] == "zca"
    assert made.provenance["dataset_checksum"] == data.checksum
