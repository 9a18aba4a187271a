"""Folds and label shares by patient: never split, even, repeatable, nested."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isdmae.errors import InputError
from isdmae_train.data import ManifestEntry
from isdmae_train.folds import images_by_patient, make_folds, read_split, usable_slices


def entry(name: str, patient: str, slices: int) -> ManifestEntry:
    return ManifestEntry(
        id=name, patient=patient, licence="none", sources=(f"{name}.nrrd",), image=f"{name}.npy",
        label=f"{name}-label.npy", labels=("lesion",), truth=f"{name}.nrrd", shape=(slices, 8, 8),
        spacing_mm=(1.0, 1.0, 1.0), sha256="", weight=1.0,
    )  # fmt: skip


SIZES = (159, 120, 118, 116, 70, 93, 181, 166, 11, 118, 32, 12, 24, 55)
MANY = [
    entry(f"case{number}-{part}", f"p{number}", size // 2 + part)
    for number, size in enumerate(SIZES)
    for part in (0, 1)
]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 200)), min_size=14, max_size=40
    ).filter(lambda sizes: len({patient for patient, _ in sizes}) >= 5),
    count=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_patient_is_split_and_everyone_is_held_out_once(
    sizes: list[tuple[int, int]], count: int, seed: int
) -> None:
    entries = [entry(f"e{n}", f"p{who}", size) for n, (who, size) in enumerate(sizes)]
    folds = make_folds(entries, count, seed=seed)
    assert len(folds) == count
    held = [patient for fold in folds for patient in fold.patients]
    assert sorted(held) == sorted({one.patient for one in entries})
    for fold in folds:
        assert fold.patients
        inside = {one.id for one in entries if one.patient in fold.patients}
        assert set(fold.entries) == inside
    sizes_of_folds = [
        sum(images_by_patient(entries)[patient] for patient in fold.patients) for fold in folds
    ]
    assert max(sizes_of_folds) - min(sizes_of_folds) <= max(images_by_patient(entries).values())


def test_folds_depend_on_the_seed_alone_and_not_on_the_order_of_the_manifest() -> None:
    small = [entry(f"e{n}", f"p{n}", 10) for n in range(12)]
    assert make_folds(small, 3, seed=4) == make_folds(small[::-1], 3, seed=4)
    assert len({make_folds(small, 3, seed=seed) for seed in range(6)}) > 1


def test_folds_of_the_covid_cases_are_even() -> None:
    images = images_by_patient(MANY)
    folds = make_folds(MANY, 4)
    counts = [sum(images[patient] for patient in fold.patients) for fold in folds]
    assert max(counts) / min(counts) < 1.15
    assert all(len(fold.entries) == 2 * len(fold.patients) for fold in folds)


@pytest.mark.parametrize("count", [1, 15])
def test_too_few_patients_or_folds(count: int) -> None:
    with pytest.raises(InputError, match=f"cannot be split into {count}"):
        make_folds(MANY, count)


def test_a_given_split_is_honoured(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    rows = [f"p{n},{'train' if n < 8 else 'test' if n < 12 else 'second'}" for n in range(14)]
    path.write_text("patient,fold\n" + "\n".join(rows) + "\n")
    second, test = make_folds(MANY, 5, given=read_split(path))
    assert (second.name, second.patients) == ("second", ("p12", "p13"))
    assert (test.name, set(test.patients)) == ("test", {"p8", "p9", "p10", "p11"})
    assert {name.split("-")[0] for name in test.entries} == {f"case{n}" for n in range(8, 12)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,fold\np0,a\np0,b\n", "puts p0 into the folds a and b"),
        ("patient\np0\n", "has the columns patient"),
        ("", "has the columns none"),
        ("patient,fold\np0,\n", "a row without patient or fold"),
    ],
)
def test_a_split_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(path)


def test_a_split_that_does_not_fit_the_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_split(tmp_path / "none.csv")
    with pytest.raises(InputError, match="no fold for 13 patients, the first is p1"):
        make_folds(MANY, 2, given={"p0": "a"})
    everyone = {f"p{n}": "a" for n in range(14)}
    for name in ("a", "train"):
        with pytest.raises(InputError, match="leaves no patient"):
            make_folds(MANY, 2, given=dict.fromkeys(everyone, name))


def pairs(chosen: dict) -> set[tuple[str, int]]:
    return {(name, int(k)) for name, slices in chosen.items() for k in slices}


@pytest.mark.parametrize("by", ["slice", "patient"])
def test_shares_are_nested_and_repeatable(by: str) -> None:
    shares = [
        pairs(usable_slices(MANY, share, seed=3, by=by))  # type: ignore[arg-type]
        for share in (0.1, 0.25, 0.5, 1.0)
    ]
    for smaller, larger in pairwise(shares):
        assert smaller < larger
    assert shares[-1] == {(one.id, k) for one in MANY for k in range(one.shape[0])}
    assert shares[0] == pairs(usable_slices(MANY[::-1], 0.1, seed=3, by=by))  # type: ignore[arg-type]
    assert shares[0] != pairs(usable_slices(MANY, 0.1, seed=4, by=by))  # type: ignore[arg-type]


def test_a_share_by_slice_keeps_every_patient_and_its_number() -> None:
    chosen = usable_slices(MANY, 0.1)
    images = images_by_patient(MANY)
    counts = dict.fromkeys(images, 0)
    for one in MANY:
        counts[one.patient] += len(chosen[one.id])
        assert all(0 <= k < one.shape[0] for k in chosen[one.id])
    assert all(counts[patient] == -(-images[patient] // 10) for patient in images)
    tiny = usable_slices([entry("a", "a", 3)], 0.01)
    assert len(tiny["a"]) == 1


def test_a_share_by_slice_is_the_same_in_every_fold() -> None:
    without = [one for one in MANY if one.patient != "p3"]
    everything = usable_slices(MANY, 0.25, seed=1)
    for name, slices in usable_slices(without, 0.25, seed=1).items():
        assert (slices == everything[name]).all()


def test_a_share_by_patient_takes_all_slices_of_some() -> None:
    chosen = usable_slices(MANY, 0.25, by="patient")
    kept = {one.patient for one in MANY if len(chosen[one.id])}
    assert len(kept) == 4
    assert all(len(chosen[one.id]) == one.shape[0] for one in MANY if one.patient in kept)


@pytest.mark.parametrize("share", [0.0, 1.1, -0.5])
def test_a_share_lies_above_zero_and_up_to_one(share: float) -> None:
    with pytest.raises(ValueError, match="share of the labels"):
        usable_slices(MANY, share)
