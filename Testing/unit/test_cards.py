"""What the released models say of themselves: one set of facts in model.json, card and README."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from isdmae.bundle import BundleInfo, Result, read_bundle
from isdmae.schema import to_plain
from isdmae_train.compare_table import PartResult, markdown_table, read_results, table_rows
from isdmae_train.metrics import summarise
from isdmae_train.score_table import PatientScore

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "ISDMAESegmentation" / "Resources" / "Models"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCORES = ROOT / "Testing" / "benchmarks" / "accuracy" / "scores"
NAMES = {"lungs": "lungs", "covid-lesion": "lesion", "nodule": "nodule"}
"""Name of the model: that of its recipes and its table of scores."""


def info(model: str) -> BundleInfo:
    return read_bundle(MODELS / model).info


def card(model: str) -> str:
    return (MODELS / model / "README.md").read_text(encoding="utf-8")


def of_recipe(model: str) -> dict[str, object]:
    path = ROOT / "Training" / "recipes" / f"{NAMES[model]}-card.yaml"
    result: dict[str, object] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return result


def scored(table: str, level: str, prefix: str = "") -> list[PatientScore]:
    """Return the scores of a table's patients whose names begin with ``prefix``."""
    patients = [
        one
        for part in read_results(SCORES / f"{table}.csv")
        if part.recipe in ("released", "from-lungs", "fine")
        for one in part.patients
        if one.level == level and one.patient.startswith(prefix)
    ]
    assert patients
    return sorted(patients, key=lambda one: one.patient)  # as the tables have them


def mean(patients: Sequence[PatientScore]) -> float:
    return sum(one.dice for one in patients) / len(patients)


RECOMPUTED = {
    # Which result of which model: table, level and names of the patients that it is the mean of.
    ("lungs", "covid20-2d"): ("lungs", "slice", ""),
    ("covid-lesion", "covid20-2d, five folds"): ("lesion-folds", "case", "covid20-"),
    ("covid-lesion", "COVID-SemiSeg, five folds"): ("lesion-folds", "slice", "infnet-"),
    ("covid-lesion", "covid20-2d, fold 0"): ("lesion", "case", "covid20-"),
    ("covid-lesion", "COVID-SemiSeg, fold 0"): ("lesion", "slice", "infnet-"),
    ("nodule", "LIDC nodule crops"): ("nodule", "case", "lidc-"),
}


def result_of(model: str, data: str) -> Result:
    (found,) = [one for one in info(model).results if one.data.startswith(data)]
    return found


@pytest.mark.parametrize(("model", "data"), RECOMPUTED)
def test_a_result_is_the_mean_of_the_scores(model: str, data: str) -> None:
    value = result_of(model, data).value
    patients = scored(*RECOMPUTED[model, data])
    assert f"{value:.3f}" == f"{mean(patients):.3f}"
    assert value == round(value, 3), "three digits are printed"
    assert f"{value:.3f}" in card(model), "and the card says the same"


@pytest.mark.parametrize("model", NAMES)
def test_no_result_is_left_out_of_the_test(model: str) -> None:
    known = [data for name, data in RECOMPUTED if name == model]
    results = info(model).results
    assert len(results) == len(known) > 0
    assert all(any(one.data.startswith(data) for data in known) for one in results)


def test_the_counts_and_intervals_in_words_are_those_of_the_scores() -> None:
    lungs, nodules = scored("lungs", "slice"), scored("nodule", "case")
    note, whole = result_of("lungs", "covid20-2d").note, summarise([one.dice for one in lungs])
    assert f"95 % interval {whole.low:.3f} to {whole.high:.3f}" in note
    assert f"worst patient {whole.worst:.3f}" in note
    assert f"{sum(one.images for one in lungs):,} slices" in note
    words = f"| {whole.mean:.3f} [{whole.low:.3f}, {whole.high:.3f}] | {whole.worst:.3f} |"
    assert words in card("lungs")
    note, whole = result_of("nodule", "LIDC").note, summarise([one.dice for one in nodules])
    assert f"95 % interval {whole.low:.3f} to {whole.high:.3f}" in note
    assert f"{sum(one.images for one in nodules)} nodules" in note
    assert f"{sum(one.missed for one in nodules)} missed" in note
    assert f"**{whole.mean:.3f} [{whole.low:.3f}, {whole.high:.3f}]**" in card("nodule")
    lesions = [f"{one.dice:.3f}" for one in scored("lesion", "case", "covid20-")]
    assert ", ".join(lesions) in result_of("covid-lesion", "covid20-2d, fold 0").note
    assert ", ".join(lesions) in card("covid-lesion")
    for data in ("COVID-SemiSeg, fold 0", "COVID-SemiSeg, five folds", "covid20-2d, five folds"):
        of_data = scored(*RECOMPUTED["covid-lesion", data])
        note, whole = result_of("covid-lesion", data).note, summarise([p.dice for p in of_data])
        assert f"worst {whole.worst:.3f}" in note
        if "five folds" in data:
            assert f"95 % interval {whole.low:.3f} to {whole.high:.3f}" in note
            words = f"{whole.mean:.3f} [{whole.low:.3f}, {whole.high:.3f}] | {whole.worst:.3f} |"
            assert words in card("covid-lesion")


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("lungs", "covid20-2d", "pictures of {patients} patients"),
        ("covid-lesion", "covid20-2d, five folds", "{patients} patients, five folds"),
        ("nodule", "LIDC", "{patients} patients, {images} nodules"),
    ],
)
def test_the_readme_has_the_same_headlines(model: str, data: str, words: str) -> None:
    (row,) = re.findall(rf"^\| \[`{model}`\].*$", README, flags=re.MULTILINE)
    of_data = next(key for key in RECOMPUTED if key[0] == model and key[1].startswith(data))
    patients = scored(*RECOMPUTED[of_data])
    assert f"Dice {result_of(model, of_data[1]).value:.3f} (" in row
    images = sum(one.images for one in patients)
    assert words.format(patients=len(patients), images=images) in row
    licence = row.rstrip(" |").rsplit("| ", 1)[-1]
    assert licence in ("non-commercial" if info(model).non_commercial else info(model).licence)


def test_the_readme_has_the_interval_of_the_lungs() -> None:
    whole = summarise([one.dice for one in scored("lungs", "slice")])
    words = f"{whole.mean:.3f} (95 % interval {whole.low:.3f} to {whole.high:.3f})"
    assert f"| {words} | {whole.worst:.3f} |" in README


@pytest.mark.parametrize("model", NAMES)
def test_recipe_and_model_tell_the_same(model: str) -> None:
    recipe, released = of_recipe(model), info(model)
    for name in ("name", "title", "description", "version", "licence", "non_commercial"):
        assert getattr(released, name) == recipe[name], name
    for name in ("training_sets", "results"):
        assert to_plain(getattr(released, name)) == recipe[name], name


@pytest.mark.parametrize("model", NAMES)
def test_the_card_names_version_licence_and_every_synthetic_set(model: str) -> None:
    text = card(model)
    assert f"\n| version | {info(model).version} " in text
    (licence,) = re.findall(r"^\| licence \| (.*) \|$", text, flags=re.MULTILINE)
    assert info(model).licence.split(" (")[0] in licence
    assert ("non-commercial" in licence) == info(model).non_commercial
    synthetic = any("synthetic" in one.name for one in info(model).training_sets)
    assert synthetic == ("| synthetic chests |" in text)


@pytest.mark.parametrize("model", NAMES)
def test_the_changelog_has_the_version_that_is_released(model: str) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"`{model}` {info(model).version}" in text


def test_the_command_prints_what_the_cards_say() -> None:
    """`make accuracy` lays out these very rows."""
    parts: list[PartResult] = read_results(SCORES / "nodule.csv")
    lines = markdown_table(table_rows(parts, "fine", 0, by_set=True))
    (line,) = [one for one in lines if one.startswith("| nodule | case")]
    assert re.search(r"\| (0\.\d{3} \[0\.\d{3}, 0\.\d{3}\])", line).group(1) in card("nodule")
