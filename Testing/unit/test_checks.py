"""Every refusal and warning on input."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from isdmae import checks, io
from isdmae.checks import prepare_hu
from isdmae.errors import InputError
from isdmae.volume import Volume


def chest(shape: tuple[int, int, int] = (24, 48, 48), seed: int = 0) -> np.ndarray:
    """Air outside, soft tissue in an ellipse, two lungs, noise of 20 HU; int16."""
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    hu = np.full(shape, -1000.0)
    hu[(i / 0.9) ** 2 + (j / 0.7) ** 2 < 1] = 40
    for side in (-0.4, 0.4):
        hu[((i - side) / 0.3) ** 2 + (j / 0.5) ** 2 + (k / 2) ** 2 < 1] = -850
    hu += np.random.default_rng(seed).normal(0, 20, shape)
    return np.round(hu).clip(-1024, 3071).astype(np.int16)


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (7.0, 7.0, 5.0)) -> Volume:
    return Volume(array=array, spacing_mm=spacing)


def codes(notices: list[checks.Notice]) -> list[str]:
    return [notice.code for notice in notices]


def mixture(counts: dict[int, int], rest: int) -> np.ndarray:
    """4,000 voxels: so many of each value, the rest of one value; int32."""
    values = np.full(4000, rest, dtype=np.int32)
    values[: sum(counts.values())] = np.repeat(list(counts), list(counts.values()))
    return values.reshape(10, 20, 20)


def turned(degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


class TestPrepare:
    def test_a_plain_chest_passes_without_notice(self) -> None:
        clean, notices = prepare_hu(volume(chest()))
        assert notices == []
        assert clean.array.dtype == np.int16
        np.testing.assert_array_equal(clean.array, chest())

    @pytest.mark.parametrize(
        ("dtype", "expected"),
        [
            (np.int16, np.int16),
            (np.int32, np.int16),
            (np.int64, np.int16),
            (">i2", np.int16),
            (np.float16, np.float32),
            (np.float32, np.float32),
            (np.float64, np.float32),
        ],
    )
    def test_dtype_does_not_change_the_values(self, dtype: str, expected: type) -> None:
        clean, _ = prepare_hu(volume(chest().astype(dtype)))
        assert clean.array.dtype == expected
        np.testing.assert_array_equal(clean.array, chest().astype(dtype))

    def test_the_grid_stays(self) -> None:
        array = chest()
        array[0] = -3024
        before = Volume(
            array=array, spacing_mm=(7, 6, 4), origin_mm=(1, 2, 3), direction=turned(10)
        )
        clean, notices = prepare_hu(before)
        assert clean.same_grid(before, tolerance=0)
        assert codes(notices) == ["padding", "oblique"]

    def test_the_input_is_not_written(self) -> None:
        array = chest().astype(np.float32)
        array[0, 0, 0] = np.nan
        array[0, 0, 1] = -3024
        prepare_hu(volume(array))
        assert np.isnan(array[0, 0, 0])
        assert array[0, 0, 1] == -3024

    @pytest.mark.parametrize(
        "folder", ["cip-ct64/ct-64.nrrd", "elastix-lung/ct_baseline_small.mha"]
    )
    def test_real_crops_pass(self, data_dir, folder: str) -> None:
        clean, notices = prepare_hu(io.read(data_dir / folder).volume)
        assert clean.array.min() >= -1024
        assert set(codes(notices)) <= {"padding"}

    def test_a_real_ct_passes_and_its_crop_of_64_voxels_too(self, data_dir) -> None:
        ct = io.read(data_dir / "lidc" / "LIDC-IDRI-0003_ct.nii.gz").volume
        prepare_hu(ct)
        crop = Volume(array=ct.array[60:70, 200:264, 90:154], spacing_mm=ct.spacing_mm)
        prepare_hu(crop)


class TestNotHu:
    @pytest.mark.parametrize(
        "array",
        [
            pytest.param(np.random.default_rng(0).random((9, 20, 20)), id="0..1"),
            pytest.param(
                np.random.default_rng(0).integers(0, 256, (9, 20, 20)).astype(np.uint8), id="0..255"
            ),
            pytest.param(np.random.default_rng(0).normal(size=(9, 20, 20)), id="z-score"),
            pytest.param(
                np.random.default_rng(0).gamma(2, 300, (9, 20, 20)).astype(np.uint16), id="mr"
            ),
            pytest.param(np.zeros((9, 20, 20), dtype=np.int16), id="constant"),
            pytest.param(np.full((9, 20, 20), -1000, dtype=np.int16), id="air alone"),
            pytest.param(-chest(), id="wrong sign"),
            pytest.param(chest().astype(np.int32) * 40 + 30000, id="too high"),
        ],
    )
    def test_refused_with_measured_values(self, array: np.ndarray) -> None:
        with pytest.raises(InputError) as caught:
            prepare_hu(volume(array))
        assert caught.value.code == "not-hu"
        assert (
            f"from {max(float(array.min()), -1024):g} to {float(array.max()):g}"
            in caught.value.message
        )
        assert "--force" in caught.value.remedy

    def test_both_shares_are_named(self) -> None:
        """Those of whole scans in percent; less than half a tenth of one is not called zero."""
        with pytest.raises(InputError) as caught:
            checks.check_hu(volume(mixture({-501: 39, 150: 1}, 600)))
        assert "1.0 % lie below -500 (air, lung)" in caught.value.message
        assert "under 0.1 % in -100..150 (soft tissue)" in caught.value.message
        with pytest.raises(InputError, match=r"0\.0 % lie below -500 .* and 0\.1 % in -100\.\.150"):
            checks.check_hu(volume(mixture({150: 2}, 600)))

    @pytest.mark.parametrize(
        ("counts", "rest", "passes"),
        [
            pytest.param({-501: 40}, 40, True, id="1 % of air"),
            pytest.param({-501: 39, -500: 9}, 40, False, id="less air"),
            pytest.param({-100: 10, 150: 10}, -800, True, id="0.5 % of soft tissue"),
            pytest.param({-100: 10, 150: 9, 151: 9, -101: 9}, -800, False, id="less soft tissue"),
            pytest.param({-1000: 2000, -950: 1, -150: 1}, 40, True, id="0.05 % in between"),
            pytest.param({-1000: 2000, -950: 1, -149: 9, -951: 9}, 40, False, id="less in between"),
            pytest.param({-800: 2000, 3072: 200, 3071: 200}, 40, True, id="5 % of metal"),
            pytest.param({-800: 2000, 3072: 201}, 40, False, id="more metal"),
            pytest.param({-800: 2000, 32767: 1}, 40, True, id="the highest value"),
            pytest.param({-800: 2000, 32768: 1}, 40, False, id="a higher value"),
        ],
    )
    def test_the_limits(self, counts: dict[int, int], rest: int, passes: bool) -> None:
        array = mixture(counts, rest)
        if passes:
            checks.check_hu(volume(array))
        else:
            with pytest.raises(InputError, match="not Hounsfield"):
                checks.check_hu(volume(array))

    @pytest.mark.parametrize(
        ("counts", "recognised"),
        [
            ({-100: 20, -1024: 1}, True),
            ({-100: 20, -1025: 1}, False),
            ({-100: 20, 32767 - 1024: 1}, True),
            ({-100: 20, 32768 - 1024: 1}, False),
            ({-100: 19, -101: 1}, False),
        ],
    )
    def test_when_a_missing_intercept_is_guessed(
        self, counts: dict[int, int], recognised: bool
    ) -> None:
        with pytest.raises(InputError) as caught:
            checks.check_hu(volume(mixture(counts, -800) + 1024))
        start = "It looks like a CT" if recognised else "Give a CT in Hounsfield units"
        assert caught.value.remedy.startswith(start)

    def test_shares_come_from_about_two_million_voxels(self) -> None:
        for shape, sampled in (
            ((200, 500, 500), (67, 167, 167)),
            ((1, 5000, 5000), (1, 2500, 2500)),
            ((100, 150, 150), (100, 150, 150)),
        ):
            sample = checks._sample(np.broadcast_to(np.int16(7), shape))
            assert (sample.shape, sample.dtype) == (sampled, np.float32)

    def test_a_picture_padded_with_air_is_refused(self) -> None:
        """Without the check for values in between, air and tissue shares alone would pass it."""
        array = np.random.default_rng(0).integers(0, 256, (9, 40, 40)).astype(np.int16)
        array[:, :10] = -3024
        with pytest.raises(InputError, match="not Hounsfield"):
            prepare_hu(volume(array))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
    def test_a_missing_intercept_is_recognised(self, dtype: type) -> None:
        with pytest.raises(InputError) as caught:
            prepare_hu(volume((chest() + 1024).astype(dtype)))
        assert "subtract 1024" in caught.value.remedy
        assert "--force" in caught.value.remedy

    def test_a_volume_marked_as_picture_is_refused_unless_forced(self) -> None:
        picture = Volume(array=chest(), spacing_mm=(7, 7, 5), is_hu=False)
        with pytest.raises(InputError, match="not Hounsfield"):
            prepare_hu(picture)
        assert prepare_hu(picture, force=True)[0].is_hu is True

    def test_force_skips_only_this_check(self) -> None:
        array = np.random.default_rng(0).integers(0, 4096, (9, 20, 20)).astype(np.uint16)
        clean, _ = prepare_hu(volume(array), force=True)
        assert clean.is_hu
        np.testing.assert_array_equal(clean.array, array)
        with pytest.raises(InputError, match="NaN"):
            prepare_hu(volume(np.full((9, 20, 20), np.nan)), force=True)

    def test_a_large_single_slice_is_sampled(self) -> None:
        slice_ = np.tile(chest()[12:13], (1, 60, 60))
        assert codes(prepare_hu(volume(slice_))[1]) == ["single-slice"]
        with pytest.raises(InputError, match="not Hounsfield"):
            prepare_hu(volume(slice_ + 1024))

    def test_contrast_metal_and_noise_pass(self) -> None:
        array = chest().astype(np.int32)
        array[8:12, 20:24, 20:24] = 600
        array[12, 24, 24] = 30000
        array = array + np.random.default_rng(1).normal(0, 150, array.shape).astype(np.int32)
        clean, _ = prepare_hu(volume(array))
        assert clean.array.max() > 29000

    def test_values_over_3071_stay(self) -> None:
        array = chest()
        array[0, 0, 0] = 8000
        assert prepare_hu(volume(array))[0].array.max() == 8000


class TestUnsigned:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
    def test_never_wraps(self, dtype: type) -> None:
        narrow = checks.narrow_dtype(np.array([0, 200], dtype=dtype))
        assert narrow.dtype == np.int16
        assert (narrow - 1024).tolist() == [-1024, -824]

    def test_the_ends_of_a_type_fit(self) -> None:
        for ends in ([-32768, 0], [0, 32767]):
            assert checks.narrow_dtype(np.array(ends)).dtype == np.int16
        for ends in ([-32769, 0], [0, 32768], [-(2**31), 2**31 - 1]):
            assert checks.narrow_dtype(np.array(ends)).dtype == np.int32

    def test_what_is_narrow_is_not_copied(self) -> None:
        for dtype in (np.int16, np.float32):
            array = np.zeros(3, dtype=dtype)
            assert checks.narrow_dtype(array) is array

    def test_keeps_large_values(self) -> None:
        narrow = checks.narrow_dtype(np.array([0, 64512], dtype=np.uint16))
        assert narrow.dtype == np.int32
        assert narrow.tolist() == [0, 64512]
        assert checks.narrow_dtype(np.array([2**40])).dtype == np.float32
        assert checks.narrow_dtype(np.array([True])).tolist() == [1]


class TestNonfinite:
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
    def test_few_become_air(self, bad: float) -> None:
        array = chest().astype(np.float64)
        array[3, 4, 5] = bad
        clean, notices = prepare_hu(volume(array))
        assert clean.array[3, 4, 5] == -1024
        assert codes(notices) == ["not-finite"]
        assert notices[0].message.startswith("1 voxels (under 0.1 %) are NaN or infinite")

    def test_many_are_refused_with_their_count(self) -> None:
        array = chest((20, 50, 50)).astype(np.float32)
        array[:2, :5, :5] = np.nan
        with pytest.raises(InputError, match=r"50 voxels \(0.1 %\)") as caught:
            prepare_hu(volume(array))
        assert caught.value.code == "not-finite"


class TestPadding:
    @pytest.mark.parametrize("padding", [-1025, -2000, -3024, -32768])
    @pytest.mark.parametrize("dtype", [np.int16, np.float32])
    def test_becomes_air_with_its_share(self, padding: int, dtype: type) -> None:
        array = chest((20, 40, 40)).astype(dtype)
        array[:, :4] = padding
        clean, notices = prepare_hu(volume(array))
        assert clean.array.dtype == dtype
        assert (clean.array[:, :4] == -1024).all()
        as_it_is, same = checks.check_ct(volume(array))
        assert np.shares_memory(as_it_is.array, array)
        assert same == notices
        np.testing.assert_array_equal(clean.array[:, 4:], array[:, 4:])
        assert codes(notices) == ["padding"]
        assert f"10.0 % of the voxels lie below -1024 HU (lowest {padding})" in notices[0].message

    def test_a_tiny_share_is_not_called_zero(self) -> None:
        array = chest((40, 60, 60))
        array[0, 0, 0] = -2000
        assert prepare_hu(volume(array))[1][0].message.startswith("under 0.1 % of the voxels")


class TestExtent:
    def test_fewer_than_8_voxels_in_plane_are_refused(self) -> None:
        with pytest.raises(InputError, match="7 x 48") as caught:
            prepare_hu(volume(chest()[:, :, :7]))
        assert caught.value.code == "too-small"
        prepare_hu(volume(chest()[:, 20:28, :]))

    def test_in_plane_means_the_axial_plane(self) -> None:
        """A sagittal stack has few columns only in its own order."""
        sagittal = Volume(
            array=np.ascontiguousarray(chest().transpose(2, 0, 1)),
            spacing_mm=(7, 5, 7),
            direction=np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        )
        assert prepare_hu(sagittal)[1] == []
        few = sagittal.array[:5]
        with pytest.raises(InputError, match="5 x 48"):
            prepare_hu(Volume(array=few, direction=sagittal.direction))

    def test_under_50_mm_is_noticed(self) -> None:
        notices = prepare_hu(volume(chest(), (1.0, 7.0, 5.0)))[1]
        assert codes(notices) == ["small-extent"]
        assert "48 x 336 mm" in notices[0].message
        assert checks.check_extent(volume(chest((9, 50, 50)), (1.0, 1.0, 5.0))) == []

    def test_a_single_slice_is_noticed(self) -> None:
        notices = prepare_hu(volume(chest()[12:13], (7.0, 7.0, 9.0)))[1]
        assert codes(notices) == ["single-slice"]
        assert "low confidence" in notices[0].message
        assert prepare_hu(volume(chest()[12:14]))[1] == []

    def test_thick_slices_are_noticed(self) -> None:
        assert prepare_hu(volume(chest(), (7.0, 7.0, 5.5)))[1] == []
        notices = prepare_hu(volume(chest(), (7.0, 7.0, 7.5)))[1]
        assert codes(notices) == ["thick-slices"]
        assert "7.5 mm" in notices[0].message

    def test_oblique_is_noticed_with_its_angle(self) -> None:
        for degrees, expected in ((0.9, []), (12.3, ["oblique"])):
            tilted = Volume(array=chest(), spacing_mm=(7, 7, 5), direction=turned(degrees))
            notices = prepare_hu(tilted)[1]
            assert codes(notices) == expected
        assert "12.3 degrees" in notices[0].message


class TestFramesAndChannels:
    def test_one_is_fine(self) -> None:
        checks.refuse_time_series(1, "a.nii")
        checks.refuse_channels(1, "a.nii")

    def test_more_are_refused(self) -> None:
        for frames in (2, 4):
            with pytest.raises(InputError, match=rf"a\.nii is a time series of {frames} frames"):
                checks.refuse_time_series(frames, "a.nii")
        for channels in (3, 4):
            with pytest.raises(InputError, match=f"colour image with {channels} channels, not CT"):
                checks.refuse_channels(channels, "a.nii")
        for channels in (2, 5):
            with pytest.raises(InputError, match=f"{channels} values in each voxel"):
                checks.refuse_channels(channels, "a.nii")


def test_no_file_name_in_a_notice_of_unknown_orientation() -> None:
    notice = checks.notice_unknown_orientation()
    assert "Doe" not in notice.message
    assert notice.message.startswith("The file does not say")


def nan_at(count: int) -> Volume:
    array = chest().astype(np.float32)
    array.flat[:count] = np.nan
    return volume(array)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("time-series", lambda: checks.refuse_time_series(2, "a.nii")),
        ("colour-image", lambda: checks.refuse_channels(3, "a.nii")),
        ("vector-image", lambda: checks.refuse_channels(2, "a.nii")),
        ("too-small", lambda: checks.check_extent(volume(chest((9, 7, 9))))),
        ("small-extent", lambda: checks.check_extent(volume(chest((9, 9, 9)), (1, 1, 1)))),
        ("not-finite", lambda: checks.replace_nonfinite(nan_at(1))[1]),
        ("not-finite", lambda: checks.replace_nonfinite(nan_at(1000))[1]),
        ("padding", lambda: checks.check_padding(volume(chest() - 1000))),
        ("not-hu", lambda: checks.check_hu(volume(chest() * 0))),
        ("not-hu", lambda: checks.check_hu(volume(chest() + 1024))),
        ("single-slice", lambda: checks.check_slice_count(volume(chest((1, 9, 9))))),
        ("thick-slices", lambda: checks.check_slice_thickness(volume(chest(), (1, 1, 6)))),
        ("oblique", lambda: checks.check_obliquity(Volume(array=chest(), direction=turned(2)))),
        ("unknown-orientation", lambda: [checks.notice_unknown_orientation()]),
    ],
)
def test_each_says_in_sentences_what_is_wrong_and_what_to_do(
    code: str, found: Callable[[], list[checks.Notice] | None]
) -> None:
    try:
        (said,) = found() or []
    except InputError as error:
        said = error
    assert said.code == code
    assert re.fullmatch(r"(a\.nii |\d|[A-Z][a-z]* ).*[a-zTU\d)]\.", said.message)
    assert re.fullmatch(r"([A-Z][a-z]+ .*[a-z\d]\.)", said.remedy.replace("DICOM", "file"))


def test_what_is_not_hu_is_refused_unless_somebody_knows_better() -> None:
    flat = volume(np.full((8, 16, 16), 3000, np.int16))
    with pytest.raises(InputError) as caught:
        checks.check_ct(flat)
    assert caught.value.code == "not-hu"
    checks.check_ct(flat, force=True)
