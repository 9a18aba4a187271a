"""The table of a comparison from scores that are known."""

from __future__ import annotations

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from isdmae.errors import InputError
from isdmae_train.compare_plan import merged_plain
from isdmae_train.compare_table import (
    PartResult,
    _csv,
    _line,
    markdown_table,
    read_results,
    table_rows,
    write_results,
)
from isdmae_train.score_table import (
    METRICS,
    PatientScore,
    Score,
    by_patient,
    interval,
    markdown,
    read_patients,
    summarise_patients,
    write_csv,
)


def patient(name: str, dice: float, *, hd95: float | None = 4.0, missed: int = 0) -> PatientScore:
    return PatientScore(
        patient=name, structure="lesion", level="slice", unit="px", images=10, dice=dice,
        nsd=None if hd95 is None else dice, hd95=hd95, missed=missed, invented=1, empty=2,
    )  # fmt: skip


def result(recipe: str, fold: str, seed: int, *patients: PatientScore, share: float = 1.0,
           diverged: str = "") -> PartResult:  # fmt: skip
    return PartResult(
        recipe=recipe, fold=fold, seed=seed, share=share, patients=patients, diverged=diverged
    )


RESULTS = [
    result("none", "0", 0, patient("a", 0.50), patient("b", 0.20, missed=3)),
    result("none", "0", 1, patient("a", 0.60), patient("b", 0.30, missed=1)),
    result("none", "1", 0, patient("c", 0.90)),
    result("none", "1", 1, patient("c", 0.80)),
    result("mae", "0", 0, patient("a", 0.60), patient("b", 0.30)),
    result("mae", "0", 1, patient("a", 0.70), patient("b", 0.40)),
    result("mae", "1", 0, patient("c", 0.95)),
    result("mae", "1", 1, diverged="nan"),
    result("none", "0", 0, patient("a", 0.10), share=0.1),
]


def test_the_scores_behind_a_table_can_be_read_back(tmp_path: Path) -> None:
    write_results(tmp_path / "patients.csv", RESULTS)
    back = read_results(tmp_path / "patients.csv")
    assert back == [one for one in RESULTS if not one.diverged]
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "absent.csv")


def test_rows_average_over_seeds_first_and_over_patients_then() -> None:
    rows = {(row["recipe"], row["share"]): row for row in table_rows(RESULTS, "none", 0)}
    assert list(rows) == [("none", 1.0), ("mae", 1.0), ("none", 0.1)]
    none, mae = rows["none", 1.0], rows["mae", 1.0]
    assert none["dice"]["mean"] == pytest.approx((0.55 + 0.25 + 0.85) / 3)
    assert none["dice"]["worst"] == pytest.approx(0.25)
    assert (none["patients"], none["runs"], none["images"]) == (3, 4, 60)
    assert (none["missed"], none["invented"]) == (4, 6)
    assert mae["runs"] == 3, "a run that diverged is none"
    assert mae["dice_difference"]["mean"] == pytest.approx(0.1)
    assert mae["dice_difference"]["low"] == pytest.approx(0.1)
    assert mae["hd95_difference"]["mean"] == 0.0
    assert "dice_difference" not in none
    assert "dice_difference" not in rows["none", 0.1], "only the same share is compared"


def test_the_order_of_the_parts_changes_nothing() -> None:
    first = {(row["recipe"], row["share"]): row for row in table_rows(RESULTS, "none", 0)}
    second = {(row["recipe"], row["share"]): row for row in table_rows(RESULTS[::-1], "none", 0)}
    for key, row in first.items():
        for name, value in row.items():
            if isinstance(value, dict):
                assert value == pytest.approx(second[key][name])
            else:
                assert value == second[key][name]


def test_a_difference_needs_patients_in_common() -> None:
    rows = table_rows([result("none", "0", 0, patient("a", 0.5)),
                       result("mae", "1", 0, patient("b", 0.6))], "none", 0)  # fmt: skip
    assert not any("dice_difference" in row for row in rows)
    assert "| - |" in _line(rows[0])


def test_single_pictures_and_patients_of_another_set_have_no_mean_in_common() -> None:
    scan = replace(patient("LIDC-IDRI-0001", 0.9), level="scan", unit="mm")
    parts = [
        result("none", "0", 0, patient("covid-a", 0.8), patient("covid-b", 0.6),
               patient("single-1", 0.1), scan),
        result("mae", "0", 0, patient("covid-a", 0.9), patient("single-1", 0.3)),
    ]  # fmt: skip
    rows = table_rows(parts, "none", 0, by_set=True)
    found = {(row["set"], row["recipe"]): row for row in rows}
    means = {key: row["dice"]["mean"] for key, row in found.items()}
    assert means == pytest.approx({
        ("covid", "none"): 0.7, ("covid", "mae"): 0.9, ("single", "none"): 0.1,
        ("single", "mae"): 0.3, ("", "none"): 0.9,
    })  # fmt: skip
    assert found["single", "mae"]["dice_difference"]["mean"] == pytest.approx(0.2)
    head, _, first, *_, last = markdown_table(rows)
    assert head.startswith("| structure | set | of each |")
    assert first.startswith("| lesion | covid | slice | 100 % | none | 0.700")
    assert last.startswith("| lesion | - | scan |")
    assert {line.count("|") for line in markdown_table(rows)} == {15}
    assert next(csv.DictReader(StringIO(_csv(rows))))["set"] == "covid"


def test_of_one_set_the_table_says_nothing() -> None:
    parts = [result("none", "0", 0, patient("covid-a", 0.8), patient("covid-b", 0.6))]
    assert table_rows(parts, "none", 0, by_set=True) == table_rows(parts, "none", 0)
    assert {line.count("|") for line in markdown_table(table_rows(parts, "none", 0))} == {14}


def test_csv_and_markdown_hold_the_same_numbers() -> None:
    rows = table_rows(RESULTS, "none", 0)
    flat = list(csv.DictReader(StringIO(_csv(rows))))
    assert float(flat[1]["dice_difference_mean"]) == pytest.approx(0.1)
    assert flat[0]["dice_difference_mean"] == ""
    assert "+0.100 [+0.100, +0.100]" in _line(rows[1])
    assert "4.0 [4.0, 4.0] px" in _line(rows[1])
    assert _line(rows[2]).startswith("| lesion | slice | 10 % | none | 0.100 |")


def test_scores_of_images_become_scores_of_patients_and_survive_the_file(tmp_path: Path) -> None:
    facts = {"structure": "lesion", "unit": "px", "nsd": 0.5, "empty": False}
    scores = [
        Score(patient='x, "1"', image="1", level="slice", dice=0.8, hd95=2.0, missed=False,
              invented=False, **facts),
        Score(patient='x, "1"', image="2", level="slice", dice=0.0, hd95=60.0, missed=True,
              invented=False, **facts),
        Score(patient='x, "1"', image="c", level="case", dice=0.7, hd95=None, missed=False,
              invented=False, **{**facts, "nsd": None}),
        Score(patient="y", image="3", level="slice", dice=0.0, hd95=60.0, missed=False,
              invented=True, **facts),
    ]  # fmt: skip
    patients = by_patient(scores)
    assert [(one.patient, one.level, one.dice, one.missed, one.invented) for one in patients] == [
        ('x, "1"', "slice", 0.4, 1, 0), ('x, "1"', "case", 0.7, 0, 0), ("y", "slice", 0.0, 0, 1),
    ]  # fmt: skip
    write_csv(tmp_path / "patients.csv", patients)
    assert read_patients(tmp_path / "patients.csv") == patients
    summary = summarise_patients(patients, 0)["lesion"]
    assert summary["slice"]["dice"]["mean"] == pytest.approx(0.2), "patients count, not images"
    assert summary["slice"]["hd95"]["worst"] == 60.0
    assert "hd95" not in summary["case"]
    table = markdown({"lesion": summary}, 2.0)
    assert "| lesion | case | 0.700 | - | - | 0 | 0 | 1 | 1 |\n" in table
    assert "comparable" not in table


@pytest.mark.parametrize("text", [None, "", "patient,structure\na,b\n", "\0"])
def test_a_damaged_file_of_scores_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "patients.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="cannot be read"):
        read_patients(path)


def test_an_interval_of_one_patient_is_none() -> None:
    assert interval({"mean": 3.0, "low": 3.0, "high": 3.0, "count": 1}, "hd95", "mm") == "3.0 mm"
    assert [interval(None, name, "mm") for name in METRICS] == ["-", "-", "-"]


def test_later_tables_win_down_to_single_entries_and_stay_as_they_were() -> None:
    first = {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    assert merged_plain(first, {"a": {"c": {"d": 3}}}, {"e": [2]}) == {
        "a": {"b": 1, "c": {"d": 3}}, "e": [2],
    }  # fmt: skip
    assert first == {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
