"""Values of a batch, changed on its device: what the loaders do, and what chance decides."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from isdmae_train.augment import add_noise, to_picture
from isdmae_train.augment_batch import (
    Change,
    apply_change,
    blurred,
    draw_change,
    field_of_view,
    loader_config,
    moved,
)
from isdmae_train.config.data import AugmentConfig, DataConfig

CPU = torch.device("cpu")
ON_DEVICE = AugmentConfig(on_device=True)


class Script:
    """Chance that says what it is told, in the place of a numpy generator."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def random(self) -> float:
        return self.values.pop(0)

    def uniform(self, low: float, high: float) -> float:
        assert low <= self.values[0] <= high
        return self.values.pop(0)


def change(count: int, **values: float | list[float]) -> Change:
    plain: dict[str, Any] = {one.name: 0.0 for one in fields(Change)} | {"gamma": 1.0} | values
    return Change(**{k: torch.tensor(v).float().expand(count).clone() for k, v in plain.items()})


def chance(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(n) for n in range(count)]


def scans(count: int = 4, slices: int = 1) -> Tensor:
    """CTs in HU: smooth, so that a picture of them has many greys."""
    random = np.random.default_rng(0)
    stack = random.standard_normal((count * slices, 48, 64)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 3) for one in stack])
    return torch.from_numpy(smooth / smooth.std() * 400 - 400).view(count, slices, 48, 64)


def test_blur_is_that_of_opencv_and_none_changes_nothing() -> None:
    stack, sigma = scans(3, 2), torch.tensor([0.5, 0.0, 1.3])
    found = blurred(stack, sigma)
    assert torch.equal(found[1], stack[1])
    for sample in (0, 2):
        for k in range(2):
            expected = cv2.GaussianBlur(stack[sample, k].numpy(), (0, 0), float(sigma[sample]))
            assert np.allclose(found[sample, k].numpy(), expected, atol=0.05)


def test_a_picture_is_the_one_that_a_loader_makes() -> None:
    image = scans(1)
    drawn = Script(0.6, -1200.0, 300.0, 0.1, 0.9, 5.0)
    expected = to_picture(image[0, 0].numpy(), drawn, equalise=True)  # type: ignore[arg-type]
    same = change(1, picture=1.0, low=-1200.0, high=300.0, gamma=0.9, limit=5.0)
    labels = torch.zeros(1, 48, 64, dtype=torch.long)
    found, is_hu, _ = apply_change(image, torch.tensor([True]), labels, same, chance(1))
    assert not is_hu
    difference = (found[0, 0] - torch.from_numpy(expected)).abs()
    assert (difference > 1.5 / 255).float().mean() < 0.01
    whole = Script(0.2, 0.9, 0.9)  # the slice's own range
    expected = to_picture(image[0, 0].numpy(), whole, equalise=False)  # type: ignore[arg-type]
    same = change(1, picture=1.0, low=-np.inf, high=np.inf)
    found, _, _ = apply_change(image, torch.tensor([True]), labels, same, chance(1))
    assert np.allclose(found[0, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("grain", [0.0, 1.0])
def test_noise_has_the_asked_strength_and_the_grain_of_a_loader(grain: float) -> None:
    flat, labels = torch.zeros(2, 1, 96, 96), torch.zeros(2, 96, 96, dtype=torch.long)
    drawn = change(2, noise=[20.0, 0.0], grain=grain)
    noisy, _, _ = apply_change(flat, torch.tensor([True, True]), labels, drawn, chance(2))
    assert torch.equal(noisy[1], flat[1])
    assert noisy[0].std() == pytest.approx(20, rel=0.01)
    scripted = Script(np.log(20.0), 0.5 if grain else 0.9, *([grain] if grain else []))
    scripted.standard_normal = np.random.default_rng(1).standard_normal  # type: ignore[attr-defined]
    loader = add_noise(flat[0, 0].numpy(), (20.0, 20.0), scripted)  # type: ignore[arg-type]

    def neighbours(one: np.ndarray) -> float:
        return float(np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1])

    assert neighbours(noisy[0, 0].numpy()) == pytest.approx(neighbours(loader), abs=0.05)


def test_what_is_not_imaged_is_not_labelled() -> None:
    image, labels = scans(3), torch.ones(3, 48, 64, dtype=torch.long)
    drawn = change(
        3, shape=[0.0, 1.0, 2.0], centre_x=0.5, centre_y=0.5, half_x=0.25, half_y=0.25,
        outside=-2000.0,
    )  # fmt: skip
    found, is_hu, left = apply_change(image, torch.tensor([True] * 3), labels, drawn, chance(3))
    assert is_hu.all()
    assert left[0].all()
    seen = field_of_view(48, 64, drawn)
    assert seen[1].sum() == pytest.approx(np.pi * 16**2, rel=0.05)
    assert seen[2].sum() == 24 * 32
    assert torch.equal(left[1:] > 0, seen[1:, 0])
    assert (found[1:][~seen[1:]] == -1024).all(), "HU end at air, as in a loader"


def test_a_cube_changes_as_one_and_its_labels_turn_with_it() -> None:
    slice_ = scans(1)
    cube = slice_[:, :, None].expand(1, 1, 3, 48, 64).contiguous()
    labels = torch.zeros(1, 3, 48, 64, dtype=torch.long)
    labels[:, :, :5] = 2
    drawn = change(1, picture=1.0, low=-1000.0, high=400.0, upside_down=1.0, blur=1.0, limit=4.0)
    found, is_hu, turned = apply_change(cube, torch.tensor([True]), labels, drawn, chance(1))
    assert found.shape == cube.shape
    assert not is_hu
    assert torch.equal(found[:, :, 0], found[:, :, 2])
    assert (turned[:, :, -5:] == 2).all()
    assert turned.sum() == labels.sum()


def batch(count: int) -> dict[str, Any]:
    image = scans(8)[:count]
    is_hu = torch.tensor([True, True, False, True, True, True, False, True])[:count]
    image = torch.where(is_hu[:, None, None, None], image, ((image + 1000) / 1400).clamp(0, 1))
    labels = torch.ones(count, 48, 64, dtype=torch.long)
    return {"image": image, "is_hu": is_hu, "label": labels, "case": [""] * count}


def test_a_sample_depends_on_the_seed_and_its_index_alone() -> None:
    whole = moved(batch(8), CPU, ON_DEVICE, seed=3, first=40)
    part = {name: values[5:] for name, values in batch(8).items()}
    alone = moved(part, CPU, ON_DEVICE, seed=3, first=45)
    assert torch.allclose(whole[0][5:], alone[0], atol=1e-3)
    assert all(torch.equal(a[5:], b) for a, b in zip(whole[1:], alone[1:], strict=True))
    assert not torch.equal(whole[0], moved(batch(8), CPU, ON_DEVICE, seed=4, first=40)[0])


def test_every_sample_is_in_its_range() -> None:
    for first in range(0, 64, 8):
        image, is_hu, labels = moved(batch(8), CPU, ON_DEVICE, seed=0, first=first)
        assert torch.isfinite(image).all()
        assert not is_hu[[2, 6]].any()
        assert image[is_hu].min() >= -1024
        assert image[~is_hu].min() >= 0
        assert image[~is_hu].max() <= 1
        assert set(labels.unique().tolist()) <= {0, 1}


def test_the_shares_are_those_of_the_configuration() -> None:
    drawn = draw_change(ON_DEVICE, torch.ones(600, dtype=torch.bool), seed=0, first=0)
    found = {name: (getattr(drawn, name) > 0).float().mean().item() for name in
             ("picture", "blur", "noise", "shape", "upside_down", "limit")}  # fmt: skip
    expected = {"picture": 0.5, "blur": 0.4, "noise": 0.7, "shape": 0.25, "upside_down": 0.2,
                "limit": 0.375}  # fmt: skip
    assert found == pytest.approx(expected, abs=0.06)


def test_loaders_leave_to_the_device_what_it_does() -> None:
    ours = DataConfig(augment=ON_DEVICE)
    left = loader_config(ours).augment
    assert (left.blur, left.noise, left.field_of_view, left.picture, left.equalise) == (0,) * 5
    assert (left.lesions, left.rotation_deg) == (ON_DEVICE.lesions, ON_DEVICE.rotation_deg)
    plain = replace(ours, augment=AugmentConfig())
    assert loader_config(plain) is plain
    same = moved(batch(4), CPU, AugmentConfig(), seed=0, first=0)
    assert torch.equal(same[0], batch(4)["image"])
