"""`evaluate` on phantoms and pictures: what is scored, by what name, and what is written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from isdmae.bundle import Bundle, write_bundle
from isdmae.errors import Cancelled, InputError
from isdmae.inference import Predictor
from isdmae.io import read, to_sitk, write_image_atomic, write_labelmap
from isdmae.labels import make_label
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import UNetConfig
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.preprocess import PreprocessConfig
from isdmae.schema import to_plain
from isdmae.volume import Volume
from isdmae_train import cli
from isdmae_train.calibration import BINS, slice_chances
from isdmae_train.cases import TOGETHER, cases_of
from isdmae_train.config.results import EvaluateConfig
from isdmae_train.data import ManifestEntry
from isdmae_train.evaluate import Evaluator, evaluate
from isdmae_train.score_table import PatientScore, Score, write_csv
from tiny_model import tiny_info, write_point_bundle

LUNG_NAMES = ("left lung", "right lung")


def entry(name: str, **changes: Any) -> ManifestEntry:
    facts: dict[str, Any] = {
        "id": name, "patient": name, "licence": "none", "sources": (), "image": "none.npy",
        "label": "none.npy", "truth": None, "shape": (1, 8, 8), "spacing_mm": (1.0, 1.0, 1.0),
        "sha256": "", "weight": 1.0,
    }  # fmt: skip
    return ManifestEntry(**{**facts, **changes})


def write_manifest(path: Path, *entries: ManifestEntry) -> Path:
    path.write_text("".join(json.dumps(to_plain(one)) + "\n" for one in entries))
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two phantoms, their truth, and a manifest of both."""
    folder = tmp_path_factory.mktemp("scans")
    entries = []
    for seed in (0, 1):
        config = PhantomConfig(shape=(12, 64, 72), spacing_mm=(5.0, 5.0, 24.0), seed=seed)
        phantom = make_phantom(config)
        write_image_atomic(folder / f"p{seed}.nrrd", to_sitk(phantom.ct))
        labels = [make_label(name, n) for n, name in enumerate(LUNG_NAMES, start=1)]
        write_labelmap(folder / f"p{seed}-truth.nrrd", phantom.lungs, labels)
        entries.append(
            entry(
                f"p{seed}",
                sources=(str(folder / f"p{seed}.nrrd"),),
                labels=LUNG_NAMES,
                truth=f"p{seed}-truth.nrrd",
                shape=(12, 64, 72),
            )
        )
    write_manifest(folder / "manifest.jsonl", *entries)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two cases of one patient and one of another, a lesion in some pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(0)
    entries = []
    for case, patient, count in (("a1", "a", 3), ("a2", "a", 2), ("b", "b", 2)):
        paths, truth = [], np.zeros((count, 48, 40), np.uint8)
        truth[1:, 10:20, 12:22] = 1
        for k in range(count):
            picture = chance.integers(0, 200, (48, 40)).astype(np.uint8)
            picture[truth[k] > 0] = 255
            paths.append(str(folder / f"{case}-{k}.png"))
            sitk.WriteImage(sitk.GetImageFromArray(picture), paths[-1])
        write_labelmap(
            folder / f"{case}.nrrd", Volume(array=truth, is_hu=False), [make_label("lesion", 1)]
        )
        entries.append(
            entry(case, patient=patient, sources=tuple(paths), is_hu=False, labels=("lesion",),
                  truth=f"{case}.nrrd", shape=(count, 48, 40))
        )  # fmt: skip
    write_manifest(folder / "manifest.jsonl", *entries)
    return folder


class Finds:
    """In the place of a network: finds by a rule, with labels of any names."""

    def __init__(
        self, rule: Any, names: tuple[str, ...], spatial_dims: int = 2, neighbours: int = 0
    ) -> None:
        self.rule, self.seen = rule, []
        labels = tuple(make_label(name, n) for n, name in enumerate(names, start=1))
        network = type("N", (), {"spatial_dims": spatial_dims})
        facts = {
            "labels": labels, "name": "fake", "network": network,
            "preprocess": PreprocessConfig(neighbours=neighbours),
        }  # fmt: skip
        info = type("I", (), facts)
        self.bundle = type("B", (), {"info": info})

    def segment(self, volume: Volume, stop: Any = None) -> Any:
        self.seen.append(volume.shape)
        return type("R", (), {"labelmap": volume.with_array(self.rule(volume.array))})


def scores_of(manifest: Path, predictor: Finds, **options: Any) -> list[Score]:
    config = EvaluateConfig(model="not loaded", manifest=manifest, **options)
    cases = cases_of(config)
    evaluator = Evaluator(config, cases, predictor)  # type: ignore[arg-type]
    return [score for case in cases for score in evaluator.score(case)]


def bright(array: np.ndarray) -> np.ndarray:
    return (array == 255).astype(np.uint8)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scans_by_patient_with_tables_and_pictures(scans: Path, tmp_path: Path,
                                                   tiny_bundle: Bundle) -> None:  # fmt: skip
    out = tmp_path / "out"
    command = ["evaluate", "--model", str(tiny_bundle.folder), "--manifest",
               str(scans / "manifest.jsonl"), "--out", str(out), "--worst", "3"]  # fmt: skip
    assert cli.main(command) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["structures"]) == {*LUNG_NAMES, TOGETHER}
    facts = summary["structures"]["left lung"]["scan"]
    assert (facts["patients"], facts["images"], facts["unit"]) == (2, 2, "mm")
    assert facts["dice"]["low"] <= facts["dice"]["mean"] <= facts["dice"]["high"]
    images = rows(out / "scores.csv")
    assert len(images) == 6
    mean = np.mean([float(row["dice"]) for row in images if row["structure"] == "left lung"])
    assert facts["dice"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert {row["patient"] for row in rows(out / "patients.csv")} == {"p0", "p1"}
    assert "| left lung | scan |" in (out / "table.md").read_text()
    drawn = sorted((out / "worst").glob("*.png"))
    assert len(drawn) == 3
    assert sitk.ReadImage(str(drawn[0])).GetNumberOfComponentsPerPixel() == 3

    assert cli.main([*command, "--patients", "p1", "--worst", "1"]) == 0
    assert {row["patient"] for row in rows(out / "scores.csv")} == {"p1"}
    assert len(list((out / "worst").glob("*.png"))) == 1, "the older pictures are gone"


def test_labels_are_matched_by_name_whatever_their_values(scans: Path) -> None:
    truth = read(scans / "p0-truth.nrrd").volume.array
    swapped = np.where(truth > 0, 3 - truth, 0).astype(np.uint8)
    model = Finds(lambda array: swapped, ("right lung", "left lung", "lesion"))
    scores = scores_of(scans / "manifest.jsonl", model, only=("p0",))
    assert {score.structure for score in scores} == {*LUNG_NAMES, TOGETHER}
    assert [score.dice for score in scores] == [1.0, 1.0, 1.0]
    assert [score.hd95 for score in scores] == [0.0, 0.0, 0.0]
    one = scores_of(
        scans / "manifest.jsonl", Finds(lambda array: swapped // 2, ("left lung",)), only=("p0",)
    )
    assert [(score.structure, score.dice) for score in one] == [("left lung", 1.0)]


def test_nothing_in_common_is_refused_with_both_lists(scans: Path) -> None:
    with pytest.raises(InputError, match="finds nodule; the truth knows left lung, right lung"):
        scores_of(scans / "manifest.jsonl", Finds(bright, ("nodule",)))


def test_surface_distances_follow_the_scan_s_own_spacing(scans: Path) -> None:
    truth = read(scans / "p0-truth.nrrd").volume
    spacing = truth.spacing_mm[::-1]
    for axis in range(3):
        moved = np.roll(truth.array, 1, axis)
        scores = scores_of(
            scans / "manifest.jsonl", Finds(lambda array, moved=moved: moved, LUNG_NAMES),
            only=("p0",),
        )  # fmt: skip
        assert 0 < scores[0].hd95 <= spacing[axis] + 1e-6
    empty = scores_of(
        scans / "manifest.jsonl",
        Finds(lambda array: np.zeros(array.shape, np.uint8), LUNG_NAMES),
        only=("p0",),
    )
    assert all(score.missed and score.dice == score.nsd == 0 for score in empty)
    extent = np.linalg.norm(np.multiply(truth.shape, spacing))
    assert empty[0].hd95 == pytest.approx(extent)


def test_pictures_score_one_by_one_and_as_a_case(pictures: Path) -> None:
    model = Finds(bright, ("lesion",))
    scores = scores_of(pictures / "manifest.jsonl", model)
    slices = [score for score in scores if score.level == "slice"]
    cases = [score for score in scores if score.level == "case"]
    assert (len(slices), len(cases)) == (7, 3)
    assert set(model.seen) == {(1, 48, 40)}
    assert all(score.dice == 1.0 and score.unit == "px" for score in scores)
    assert sum(score.empty for score in slices) == 3, "pictures without a lesion count, too"
    assert slices[0].image == "a1/a1-0.png"
    assert {score.hd95 for score in cases} == {None}


def test_an_invention_on_a_picture_without_lesion_counts_zero(pictures: Path) -> None:
    model = Finds(lambda array: np.ones(array.shape, np.uint8), ("lesion",))
    scores = scores_of(pictures / "manifest.jsonl", model)
    invented = [score for score in scores if score.invented]
    assert len(invented) == 3
    assert {(score.dice, score.level) for score in invented} == {(0.0, "slice")}
    assert invented[0].hd95 == pytest.approx(np.hypot(48, 40))
    assert not any(score.missed for score in scores)


@pytest.mark.parametrize("options", [{"spatial_dims": 3}, {"neighbours": 1}])
def test_a_model_that_sees_neighbours_gets_the_stack_and_is_scored_on_the_same_slices(
    pictures: Path, options: dict[str, int]
) -> None:
    model = Finds(bright, ("lesion",), **options)
    flat = scores_of(pictures / "manifest.jsonl", Finds(bright, ("lesion",)))
    assert scores_of(pictures / "manifest.jsonl", model) == flat
    assert model.seen == [(3, 48, 40), (2, 48, 40), (2, 48, 40)]


def test_a_patient_is_the_mean_of_its_images_and_counts_once(
    pictures: Path, tmp_path: Path, tiny_bundle: Bundle
) -> None:
    info = {"labels": [to_plain(make_label("lesion", 1)), to_plain(make_label("nodule", 2))]}
    path = tiny_bundle.folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **info}))
    config = EvaluateConfig(
        model=str(tiny_bundle.folder), manifest=pictures / "manifest.jsonl", out=tmp_path / "out",
        author_compatible=True,
    )  # fmt: skip
    summary = evaluate(config)
    facts = summary["structures"]["lesion"]["slice"]
    assert (facts["patients"], facts["images"]) == (2, 7)
    means = {row["patient"]: float(row["dice"]) for row in rows(tmp_path / "out" / "patients.csv")
             if row["level"] == "slice"}  # fmt: skip
    assert facts["dice"]["mean"] == pytest.approx(np.mean(list(means.values())), abs=1e-6)
    author = summary["author_compatible"]["lesion"]
    assert author["slices"] == 4, "their way takes only slices that hold the structure"
    assert author["dice"] >= 0.0
    head, lines, *body = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert head.endswith("| images | author-compatible Dice, not comparable |")
    assert lines.count("---") == head.count("|") - 1
    cells = {line.split(" | ")[1]: line.split(" | ")[-1] for line in body if "| lesion |" in line}
    value = f"{author['dice']:.3f} (4 slices, threshold {author['threshold']:.2f}) |"
    assert cells == {"slice": value, "case": "- |"}


def test_the_options_of_a_prediction_are_those_that_are_scored(
    scans: Path, tiny_bundle: Bundle
) -> None:
    config = EvaluateConfig(
        model=str(tiny_bundle.folder), manifest=scans / "manifest.jsonl", mirror=True,
        views=("axial", "coronal"),
    )  # fmt: skip
    predictor = Evaluator(config, cases_of(config)).predictor
    assert predictor.network.mirror
    assert predictor.views == ("axial", "coronal")


@pytest.mark.parametrize("option", ["calibration", "author_compatible"])
def test_probabilities_of_several_views_are_refused_on_cts_alone(
    scans: Path, pictures: Path, tiny_bundle: Bundle, option: str
) -> None:
    path = tiny_bundle.folder / "model.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "views": ["axial", "sagittal"]}))
    asked = {"model": str(tiny_bundle.folder), option: True}
    ct = EvaluateConfig(manifest=scans / "manifest.jsonl", **asked)
    with pytest.raises(InputError, match="averages them with sagittal ones"):
        Evaluator(ct, cases_of(ct))
    Evaluator(replace(ct, views=("axial",)), cases_of(ct))
    facts["labels"] = [to_plain(make_label("lesion", 1)), to_plain(make_label("nodule", 2))]
    path.write_text(json.dumps({**facts, "views": ["axial", "sagittal"]}))
    flat = EvaluateConfig(manifest=pictures / "manifest.jsonl", **asked)
    Evaluator(flat, cases_of(flat))


def test_calibration_judges_what_segments(pictures: Path, tmp_path: Path) -> None:
    """A model between neighbours sees the stack; with the mirror image, the mean of both."""
    torch.manual_seed(0)
    network = UNetConfig(in_channels=3, widths=(4, 8, 8), blocks=(0, 1, 1))
    info = tiny_info(
        labels=[to_plain(make_label("lesion", 1))], network=to_plain(network),
        preprocess={"neighbours": 1, "edges": False, "windows_hu": [[-500.0, 1200.0]]},
        postprocess={"smallest_share": 0.0, "fill_holes": False},
    )  # fmt: skip
    weights = Segmenter(network, classes=2).state_dict()
    images = [read(str(pictures / f"a1-{k}.png")).volume for k in range(3)]
    stack = Volume(array=np.concatenate([one.array for one in images]), is_hu=False)
    plain = Predictor(
        write_bundle(tmp_path / "plain", info, weights).folder, device="cpu", precision="float32"
    )
    odds = np.log([chances[1] / chances[0] for chances, _ in slice_chances(stack, plain, {})])
    # Of random weights the chances are much the same everywhere.
    weights["head.bias"][1] -= float(np.median(odds))
    for name in ("head.weight", "head.bias"):
        weights[name] *= 2 / float(odds.std())
    model = write_bundle(tmp_path / "model", info, weights).folder
    curves = {}
    for mirror in (False, True):
        config = EvaluateConfig(
            model="", manifest=pictures / "manifest.jsonl", only=("a1",), calibration=True
        )
        (case,) = cases_of(config)
        predictor = Predictor(model, device="cpu", precision="float32", mirror=mirror)
        evaluator = Evaluator(config, [case], predictor)
        evaluator.score(case)
        assert evaluator.calibration is not None
        curves[mirror] = evaluator.calibration.curves(0)["lesion"]
        found = predictor.segment(stack).labelmap.array
        likely = sum(curves[mirror].pixels[BINS // 2 :])
        assert 100 < likely < found.size - 100
        # Labels are the largest of resampled logits, chances are resampled as chances.
        assert likely == pytest.approx((found == 1).sum(), abs=20)
    assert curves[False].pixels != curves[True].pixels


def test_a_stop_leaves_no_table(pictures: Path, tmp_path: Path, tiny_bundle: Bundle,
                                scans: Path) -> None:  # fmt: skip
    config = EvaluateConfig(
        model=str(tiny_bundle.folder), manifest=scans / "manifest.jsonl", out=tmp_path / "out"
    )
    with pytest.raises(Cancelled):
        evaluate(config, stop=lambda: True)
    assert not (tmp_path / "out").exists()


def test_structures_known_to_be_absent_are_scored(scans: Path, tmp_path: Path) -> None:
    source = str(scans / "p0.nrrd")
    manifest = write_manifest(tmp_path / "m.jsonl", entry("p0", sources=(source,),
                                                          free_of=("lesion",)))  # fmt: skip
    nothing = Finds(lambda array: np.zeros(array.shape, np.uint8), ("lesion",))
    assert [score.dice for score in scores_of(manifest, nothing)] == [1.0]
    too_much = Finds(lambda array: np.ones(array.shape, np.uint8), ("lesion",))
    assert [score.invented for score in scores_of(manifest, too_much)] == [True]


def test_damaged_images_are_named_after_the_table_of_the_others(
    scans: Path, tmp_path: Path, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5, 6), np.uint8)), str(scans / "s.nrrd"))
    good = entry("p1", patient='p, "1"', sources=(str(scans / "p1.nrrd"),), labels=LUNG_NAMES,
                 truth="p1-truth.nrrd")  # fmt: skip
    gone = replace(good, id="gone", sources=(str(tmp_path / "gone.nrrd"),))
    small = replace(good, id="small", truth="s.nrrd")
    manifest = write_manifest(scans / "m.jsonl", good, gone, small)
    out = tmp_path / "out"
    command = ["evaluate", "--model", str(tiny_bundle.folder), "--manifest", str(manifest)]
    assert cli.main([*command, "--out", str(out)]) == 2
    assert "2 of 3 images are not in the table: gone: gone.nrrd does not exist" in caplog.text
    assert "small: The truth has 6 x 5 x 4 voxels and the image 72 x 64 x 12" in caplog.text
    assert {row["patient"] for row in rows(out / "scores.csv")} == {'p, "1"'}
    assert cli.main([*command, "--out", str(tmp_path / "none"), "--only", "gone"]) == 2
    assert "None of 1 images could be scored" in caplog.text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ("p0", "p7")}, "does not list p7"),
        ({"patients": ("who",)}, "does not list who"),
        ({"only": ("bare",)}, "no truth for bare"),
        ({"patients": ("bare",)}, "no truth for bare"),
        ({"only": ("p0",), "patients": ("bare",)}, "no truth for this choice"),
        ({"pictures": Path("x")}, "Give a manifest, or pictures"),
    ],
)
def test_a_wrong_choice_of_images_is_refused_before_the_work(
    scans: Path, options: dict[str, Any], message: str
) -> None:
    first = entry("p0", sources=(str(scans / "p0.nrrd"),), labels=LUNG_NAMES,
                  truth="p0-truth.nrrd")  # fmt: skip
    manifest = write_manifest(scans / "choice.jsonl", first, entry("bare"))
    with pytest.raises(InputError, match=message):
        evaluate(EvaluateConfig(model="not reached", manifest=manifest, **options))
    assert [case.name for case in cases_of(EvaluateConfig(model="", manifest=manifest))] == ["p0"]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The options for pictures a, b, c in one folder and masks of a, b in another."""
    chance = np.random.default_rng(0)
    for folder, names in (("images", "abc"), ("masks", "ab")):
        (tmp_path / folder).mkdir()
        for name in names:
            noise = chance.integers(0, 2, (40, 40)).astype(np.uint8) * 255
            sitk.WriteImage(sitk.GetImageFromArray(noise), str(tmp_path / folder / f"{name}.png"))
    (tmp_path / "index.csv").write_text("file,patient\na.png,x\nb.png,x\nc.png,y\n")
    return ["--pictures", str(tmp_path / "images"), "--truth", str(tmp_path / "masks"),
            "--index", str(tmp_path / "index.csv"), "--out", str(tmp_path / "out")]  # fmt: skip


def test_folders_of_pictures(
    folders: list[str], tmp_path: Path, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    command = ["evaluate", "--model", str(tiny_bundle.folder), *folders]
    assert cli.main(command) == 2
    assert "c.png: c.png does not exist" in caplog.text
    found = rows(tmp_path / "out" / "scores.csv")
    assert [(row["image"], row["structure"]) for row in found] == [
        ("a.png", TOGETHER), ("b.png", TOGETHER),
    ]  # fmt: skip
    assert cli.main([*command, "--patients", "x", "--truth-label", "left lung"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    facts = summary["structures"]["left lung"]["slice"]
    assert (facts["patients"], facts["images"], facts["unit"]) == (1, 2, "px")
    assert cli.main([*command, "--patients", "x", "--truth-label", "spine"]) == 2
    assert "the truth knows spine" in caplog.text


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "index.csv cannot be read"),
        ("name,patient\na.png,x\n", "has the columns name, patient"),
        ("", "has the columns none"),
        ("file,patient\na.png,x\n", "has no patient for 1 pictures, first b.png"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(
    tmp_path: Path, index: str | None, message: str
) -> None:
    for name in ("a.png", "b.png"):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((9, 9), np.uint8)), str(tmp_path / name))
    if index is not None:
        (tmp_path / "index.csv").write_text(index)
    config = EvaluateConfig(
        model="not reached", pictures=tmp_path, truth=tmp_path, index=tmp_path / "index.csv"
    )
    with pytest.raises(InputError, match=message):
        evaluate(config)
    with pytest.raises(InputError, match="holds no picture"):
        evaluate(EvaluateConfig(model="", pictures=tmp_path / "none", truth=tmp_path))


def test_three_views_are_tried_of_cts_and_not_of_pictures(
    scans: Path, pictures: Path, tiny_bundle: Bundle
) -> None:
    script = (
        Path(__file__).resolve().parents[1] / "benchmarks" / "accuracy" / "prediction_options.py"
    )
    ways = {}
    for folder, label in ((scans, "left lung"), (pictures, "lesion")):
        path = tiny_bundle.folder / "model.json"
        labels = [to_plain(make_label(label, 1)), to_plain(make_label("nodule", 2))]
        path.write_text(json.dumps({**json.loads(path.read_text()), "labels": labels}))
        command = [sys.executable, str(script), "--model", str(tiny_bundle.folder),
                   "--manifest", str(folder / "manifest.jsonl")]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        table = [line for line in done.stderr.splitlines() if line.startswith(f"| {label} |")]
        ways[label] = {line.split(" | ")[2] for line in table}
    assert ways == {
        "left lung": {"as released", "mirror", "three views"}, "lesion": {"as released", "mirror"},
    }  # fmt: skip


def test_the_worst_cases_in_one_picture(pictures: Path, tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "accuracy" / "failures.py"
    labels = [to_plain(make_label("lesion", 1))]
    model = write_point_bundle(
        tmp_path / "model", labels=labels, crop_edge=None,
        postprocess={"smallest_share": 0.0, "fill_holes": False},
    ).folder  # fmt: skip
    scores = tmp_path / "patients.csv"
    score = {"structure": "lesion", "level": "case", "unit": "px", "images": 1, "dice": 0.5,
             "nsd": None, "hd95": None, "missed": 0, "invented": 0, "empty": 0}  # fmt: skip
    write_csv(scores, [PatientScore(patient="a", **score)])
    command = [sys.executable, str(script), "--model", str(model), "--count", "9",
               "--manifest", str(pictures / "manifest.jsonl"), "--patients-of", str(scores),
               "--out", str(tmp_path / "worst.png")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stderr.splitlines()]
    assert sorted(name for _, name in found) == ["a1", "a2"]
    assert [dice for dice, _ in found] == sorted(dice for dice, _ in found)
    drawn = sitk.ReadImage(str(tmp_path / "worst.png"))
    assert drawn.GetSize()[0] == 2 * 256 + 6
    green, magenta = (0, 200, 0), (255, 0, 255)
    colours = {tuple(pixel) for pixel in sitk.GetArrayFromImage(drawn).reshape(-1, 3)}
    assert {green, magenta} <= colours


def test_single_parts_of_the_given_split_are_scored(tmp_path: Path) -> None:
    entries = [entry(name, split=name, free_of=("lesion",)) for name in ("train", "test")]
    manifest = write_manifest(tmp_path / "manifest.jsonl", *entries)
    (case,) = cases_of(EvaluateConfig(model="lungs", manifest=manifest, parts=("test",)))
    assert case.name == "test"
    with pytest.raises(InputError, match="does not list validation"):
        cases_of(EvaluateConfig(model="lungs", manifest=manifest, parts=("validation",)))
