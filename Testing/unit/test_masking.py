"""Masks: exact counts, no replacement, True = hidden."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isdmae.masking import (
    TISSUE_EDGES_HU,
    Draw,
    choose_hidden,
    equal_bins,
    hidden_count,
    intensity_mask,
    noise_fill,
    spatial_mask,
    tissue_bins,
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


@pytest.mark.parametrize(
    ("draw", "share"), [("exact", 0.5), ("independent", 0.5), ("replacement", 1 - (15 / 16) ** 8)]
)
def test_every_patch_is_hidden_equally_often(draw: Draw, share: float) -> None:
    hidden = choose_hidden(4000, 16, 0.5, chance(), draw)
    assert hidden.dtype == torch.bool
    assert hidden.shape == (4000, 16)
    assert torch.all((hidden.float().mean(dim=0) - share).abs() < 0.05)


def test_each_by_itself_follows_the_ratio_and_not_a_count() -> None:
    hidden = choose_hidden(1000, 16, 0.3, chance(), "independent")
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert len(hidden.sum(dim=1).unique()) > 5
    assert choose_hidden(9, 16, 1.0, chance(), "independent").all()


def test_with_replacement_some_fall_on_the_same_but_never_more_are_hidden() -> None:
    counts = choose_hidden(1000, 8, 0.75, chance(), "replacement").sum(dim=1)
    assert (counts.min() >= 1, counts.max()) == (True, 6)
    assert len(counts.unique()) > 3


def test_masks_pass_on_how_they_are_drawn() -> None:
    image = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8).expand(200, -1, -1, -1)
    for draw in ("exact", "independent", "replacement"):
        patches = spatial_mask(200, (8, 8), patch_size=4, ratio=0.75, generator=chance(), draw=draw)
        bins = intensity_mask(
            image, edges=equal_bins(0, 1, 4), ratio=0.75, generator=chance(), draw=draw
        )
        for mask in (patches, bins):
            counts = mask.flatten(1).sum(dim=1).tolist()
            assert (set(counts) == {48}) == (draw == "exact")
            assert (64 in counts) == (draw == "independent")


@pytest.mark.parametrize("size", [(16, 16), (8, 12, 4)])
def test_spatial_mask_hides_whole_patches(size: tuple[int, ...]) -> None:
    mask = spatial_mask(3, size, patch_size=4, ratio=0.6, generator=chance())
    assert mask.shape == (3, 1, *size)
    assert mask.dtype == torch.bool
    patches = mask.float()
    for axis, length in enumerate(size, start=2):
        patches = patches.unflatten(axis, (length // 4, 4)).movedim(axis + 1, -1)
        patches = patches.mean(dim=-1)
    assert set(patches.unique().tolist()) <= {0.0, 1.0}
    count = patches[0].numel()
    assert patches.flatten(1).sum(dim=1).tolist() == [hidden_count(count, 0.6)] * 3


def test_spatial_mask_covers_a_size_that_is_no_multiple() -> None:
    mask = spatial_mask(1, (40, 20), patch_size=16, ratio=1.0, generator=chance())
    assert mask.shape == (1, 1, 40, 20)
    assert mask.all()


def test_a_patch_of_one_voxel() -> None:
    mask = spatial_mask(2, (5, 7), patch_size=1, ratio=0.2, generator=chance())
    assert mask.flatten(1).sum(dim=1).tolist() == [7, 7]


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


def test_a_value_on_an_edge_belongs_to_the_bin_above() -> None:
    image = torch.tensor([-700.0, -699.0, -501.0, -500.0]).reshape(1, 1, 2, 2)
    apart = 0
    for seed in range(20):
        mask = intensity_mask(image, edges=tissue_bins(), ratio=0.5, generator=chance(seed))
        first, second, third, fourth = mask.flatten().tolist()
        assert first == second == third
        apart += third != fourth
    assert apart > 0


@pytest.mark.parametrize("draw", ["exact", "independent", "replacement"])
@pytest.mark.parametrize("bins", [1, 2, 8])
def test_each_voxel_is_hidden_as_its_bin_is(draw: Draw, bins: int) -> None:
    image, edges = (
        500 * torch.randn(5, 1, 4, 6, 7, generator=chance(1)),
        equal_bins(-900, 400, bins),
    )
    hidden = choose_hidden(5, bins, 0.4, chance(2), draw)
    number = torch.bucketize(image, edges[1:-1], right=True)
    mask = intensity_mask(image, edges=edges, ratio=0.4, generator=chance(2), draw=draw)
    assert torch.equal(mask, hidden.gather(1, number.flatten(1)).view_as(image))


def test_bins_by_number_and_by_tissue() -> None:
    assert equal_bins(-1000, 400, 7).tolist() == [-1000, -800, -600, -400, -200, 0, 200, 400]
    assert equal_bins(0, 1, 1).tolist() == [0, 1]
    assert tissue_bins().tolist() == list(TISSUE_EDGES_HU) == sorted(TISSUE_EDGES_HU)


def test_the_mask_lies_where_the_image_does() -> None:
    image = torch.zeros(2, 1, 4, 4, device="meta")
    mask = intensity_mask(image, edges=tissue_bins(), ratio=0.5, generator=chance())
    assert (mask.device, mask.shape) == (image.device, image.shape)


@pytest.mark.parametrize("size", [(40, 50), (10, 20, 30)])
def test_noise_is_uniform_over_its_span(size: tuple[int, ...]) -> None:
    noise = noise_fill(2, size, span=(-1000.0, 400.0), generator=chance())
    assert (noise.shape, noise.dtype) == ((2, 1, *size), torch.float32)
    assert -1000 <= noise.min() < -990
    assert 390 < noise.max() < 400
    assert noise.mean().item() == pytest.approx(-300, abs=25)
    assert len(noise.unique()) > noise.numel() / 2
    pair = noise_fill(2, size, span=(0.0, 1.0), generator=[chance(1), chance(2)])
    alone = noise_fill(1, size, span=(0.0, 1.0), generator=[chance(2)])
    assert torch.equal(pair[1:], alone)


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
