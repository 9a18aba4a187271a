"""Masks: exact counts, no replacement, True = hidden."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isdmae.masking import (
    choose_hidden,
    equal_bins,
    hidden_count,
    intensity_mask,
    spatial_mask,
)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(number=st.integers(1, 300), ratio=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_exactly_the_asked_count_is_hidden_in_every_sample(
    number: int, ratio: float, seed: int
) -> None:
    hidden = choose_hidden(4, number, ratio, chance(seed))
    assert hidden.sum(dim=1).tolist() == [hidden_count(number, ratio)] * 4


@pytest.mark.parametrize(("ratio", "bins"), [(0.5, 4), (0.75, 6)])
def test_bins_are_drawn_without_replacement(ratio: float, bins: int) -> None:
    """With replacement 8 bins at .5 hide .414 of them on average, at .75 .551."""
    hidden = choose_hidden(500, 8, ratio, chance())
    assert torch.all(hidden.sum(dim=1) == bins)


def test_every_patch_is_hidden_equally_often() -> None:
    hidden = choose_hidden(4000, 16, 0.5, chance()).float().mean(dim=0)
    assert torch.all((hidden - 0.5).abs() < 0.05)


@pytest.mark.parametrize("size", [(64, 64), (32, 48, 16)])
def test_spatial_mask_hides_whole_patches(size: tuple[int, ...]) -> None:
    mask = spatial_mask(3, size, patch_size=16, ratio=0.6, generator=chance())
    assert mask.shape == (3, 1, *size)
    assert mask.dtype == torch.bool
    patches = mask.float()
    for axis, length in enumerate(size, start=2):
        patches = patches.unflatten(axis, (length // 16, 16)).movedim(axis + 1, -1)
        patches = patches.mean(dim=-1)
    assert set(patches.unique().tolist()) <= {0.0, 1.0}
    count = patches[0].numel()
    assert patches.flatten(1).sum(dim=1).tolist() == [hidden_count(count, 0.6)] * 3


def test_spatial_mask_covers_a_size_that_is_no_multiple() -> None:
    mask = spatial_mask(1, (40, 20), patch_size=16, ratio=1.0, generator=chance())
    assert mask.shape == (1, 1, 40, 20)
    assert mask.all()


def test_one_generator_a_sample_makes_a_mask_independent_of_its_neighbours() -> None:
    both = choose_hidden(2, 20, 0.5, [chance(1), chance(2)])
    alone = choose_hidden(1, 20, 0.5, [chance(2)])
    assert torch.equal(both[1], alone[0])


def test_intensity_mask_hides_all_voxels_of_the_chosen_bins() -> None:
    image = torch.linspace(-1200, 600, 400).reshape(1, 1, 20, 20)
    edges = equal_bins(-1000, 400, 7)
    mask = intensity_mask(image, edges=edges, ratio=3 / 7, generator=chance(3))
    bins = torch.bucketize(image, edges[1:-1], right=True)
    states = [mask[bins == number].unique().tolist() for number in range(7)]
    assert all(len(state) == 1 for state in states)
    assert sum(state == [True] for state in states) == 3


def test_intensities_outside_the_edges_belong_to_the_outer_bins() -> None:
    image = torch.tensor([-3000.0, -999.0, 399.0, 3000.0]).reshape(1, 1, 2, 2)
    mask = intensity_mask(image, edges=equal_bins(-1000, 400, 2), ratio=0.5, generator=chance(1))
    low, high = mask.flatten()[:2], mask.flatten()[2:]
    assert low[0] == low[1] != high[0]
    assert high[0] == high[1]


def test_same_seed_same_mask_and_other_seed_other_mask() -> None:
    first, again, other = (
        spatial_mask(2, (64, 64), patch_size=8, ratio=0.5, generator=chance(seed))
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_ratio_outside_0_to_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="mask ratio"):
        hidden_count(10, ratio)


def test_impossible_patches_and_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one voxel"):
        spatial_mask(1, (8, 8), patch_size=0, ratio=0.5, generator=chance())
    with pytest.raises(ValueError, match="Cannot cut"):
        equal_bins(1.0, 1.0, 4)
