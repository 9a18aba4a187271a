"""`compare` end to end on small phantoms: every part once, interrupted and resumed, one table."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from isdmae.errors import InputError
from isdmae.io import to_sitk, write_image_atomic, write_labelmap
from isdmae.labels import LUNGS
from isdmae.networks import unet
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae_train import cli, compare, compare_part, loop
from isdmae_train.compare_data import RECORD, prepare_once
from isdmae_train.compare_plan import load_comparison, parts_of
from isdmae_train.config.compare import CompareOptions, CompareRecipe
from isdmae_train.config.recipes import RECIPES, read_yaml
from isdmae_train.data import ManifestEntry, read_manifest
from isdmae_train.shapes import network_shape

TINY = ((16, 16, 16), (0, 1, 1))
PATIENTS = 4
LATER = 9
HOLD = """
import sys, time
from pathlib import Path
from isdmae_train.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Size S is a very small network here; signals are restored."""
    monkeypatch.setitem(unet.SIZES, "S", TINY)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients; the first has a second scan without labels."""
    folder = tmp_path_factory.mktemp("data")
    for seed in (*range(PATIENTS), LATER):
        phantom = make_phantom(
            PhantomConfig(shape=(10, 40, 44), spacing_mm=(8.0, 8.0, 28.0), seed=seed)
        )
        write_image_atomic(folder / f"ct{seed}.nrrd", to_sitk(phantom.ct))
        write_labelmap(folder / f"lungs{seed}.nrrd", phantom.lungs, LUNGS)
    return folder


@pytest.fixture
def entries(data: Path, tmp_path: Path) -> list[ManifestEntry]:
    """The prepared data of the recipe below."""
    options = CompareOptions(recipe=recipe(data, tmp_path / "prepared"))
    return read_manifest(prepare_once(load_comparison(options).prepare))


def recipe(data: Path, out: Path, **changes: Any) -> Path:
    """Write the recipe of a comparison of three ways to train, with two folds."""
    scans = [
        {"id": f"p{seed}", "patient": f"p{seed}", "image": f"ct{seed}.nrrd", "licence": "none",
         "label": {"path": f"lungs{seed}.nrrd", "values": {"left lung": [1], "right lung": [2]}}}
        for seed in range(PATIENTS)
    ]  # fmt: skip
    scans.append({"id": "p0-later", "patient": "p0", "image": f"ct{LATER}.nrrd", "licence": "none"})
    plain = {
        "out": str(out),
        "prepare": {"data": str(data), "out": str(data / "cache"), "scans": scans,
                    "preprocess": {"in_plane_spacing_mm": 6.0}},
        "labels": ["left lung", "right lung"],
        "baseline": "none",
        "budget": "smoke",
        "budgets": {"smoke": {"pretrain_steps": 2, "finetune_steps": 3, "folds": 2}},
        "recipes": {
            "none": {},
            "isd-mae": {"pretrain": "pretrain/isd-mae"},
            "isd-mae-slow": {"pretrain": "pretrain/isd-mae",
                             "finetune_with": {"loop": {"learning_rate": 1.0e-4}}},
        },
        "common": {
            "data": {"size": 32},
            "preprocess": {"in_plane_spacing_mm": 6.0},
            "loop": {"batch": 2, "workers": 0, "bf16": False, "log_every": 1,
                     "checkpoint_minutes": 1000.0},
        },
    }  # fmt: skip
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump({**plain, **changes}, sort_keys=False))
    return path


def tables(out: Path) -> dict[str, str]:
    return {
        name: (out / "smoke" / f"comparison.{name}").read_text() for name in ("md", "csv", "json")
    }


def test_from_a_folder_of_scans_to_the_table_in_one_command(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "whole"
    assert cli.main(["compare", str(recipe(data, out))]) == 0
    facts = json.loads(tables(out)["json"])
    assert facts["parts"] == {"done": 6, "all": 6}
    structures = {(row["structure"], row["recipe"]) for row in facts["rows"]}
    assert len(structures) == 9
    for row in facts["rows"]:
        assert (row["patients"], row["runs"], row["images"], row["level"]) == (4, 2, 4, "scan")
        assert row["dice"]["count"] == 4
        assert ("dice_difference" in row) == (row["recipe"] != "none")
    by_recipe = {row["recipe"]: row for row in facts["rows"] if row["structure"] == "left lung"}
    difference = by_recipe["isd-mae"]["dice_difference"]
    assert difference["mean"] == pytest.approx(
        by_recipe["isd-mae"]["dice"]["mean"] - by_recipe["none"]["dice"]["mean"]
    )
    assert "| left lung | scan | 100 % | isd-mae |" in tables(out)["md"]
    assert sorted(path.name for path in (out / "smoke" / "pretrain").iterdir()) == [
        "isd-mae-fold0", "isd-mae-fold1",
    ], "two recipes share a pre-training"  # fmt: skip
    assert (out / "smoke/parts/none/fold0-seed0-labels100/bundle/model.json").is_file()


def test_no_run_sees_the_held_out_patients(
    data: Path, tmp_path: Path, entries: list[ManifestEntry]
) -> None:
    config = load_comparison(CompareOptions(recipe=recipe(data, tmp_path / "a")))
    parts = parts_of(config, entries)
    for part in parts:
        hidden = {entry.id for entry in entries if entry.patient in part.fold.patients}
        assert set(part.finetune.data.hold_out) == hidden
        assert part.pretrain is None or set(part.pretrain.data.hold_out) == hidden
        assert ("p0" in hidden) == ("p0-later" in hidden), "an image without labels goes along"
    assert sorted(p for part in parts[::3] for p in part.fold.patients) == ["p0", "p1", "p2", "p3"]
    seen = load_comparison(CompareOptions(recipe=recipe(data, tmp_path / "b", transductive=True)))
    pretrainings = {str(p.pretrain.out): p.pretrain for p in parts_of(seen, entries) if p.pretrain}
    assert [one.data.hold_out for one in pretrainings.values()] == [()]


def test_later_entries_win_and_what_the_comparison_fixes_cannot_be_changed(
    data: Path, tmp_path: Path, entries: list[ManifestEntry]
) -> None:
    ways = {
        "none": {},
        "wide": {"pretrain": "pretrain/isd-mae", "pretrain_with": {"size": "B"},
                 "finetune_with": {"loop": {"weight_decay": 0.5, "seed": 9, "steps": 9}}},
        "started": {"finetune_with": {"start": "runs/{fold}/seed{seed}", "teachers": ["a{fold}"]}},
    }  # fmt: skip
    smoke = {"pretrain_steps": 2, "finetune_steps": 30, "folds": 2, "seeds": [3],
             "common": {"loop": {"batch": 5}, "data": {"any_slice": 0.5}}}  # fmt: skip
    path = recipe(data, tmp_path / "a", recipes=ways, budgets={"smoke": smoke},
                  finetune={"loop": {"batch": 4, "weight_decay": 0.2}})  # fmt: skip
    parts = {
        part.recipe: part
        for part in parts_of(load_comparison(CompareOptions(recipe=path)), entries)
    }
    none, wide = parts["none"].finetune, parts["wide"].finetune
    assert (none.loop.batch, none.loop.weight_decay, wide.loop.weight_decay) == (5, 0.2, 0.5)
    assert {(one.finetune.loop.seed, one.finetune.loop.steps) for one in parts.values()} == {
        (3, 30)
    }
    assert none.loop.warm_up == 3, "shortened to a tenth of the steps"
    assert (none.size, wide.size) == ("S", "B"), "the network is that of the pre-training"
    assert (none.data.size, none.data.any_slice) == (32, 0.5)
    started = parts["started"]
    assert started.finetune.start == Path(f"runs/{started.fold.name}/seed3")
    assert started.finetune.teachers == (Path(f"a{started.fold.name}"),)
    assert none.start is None
    only = recipe(
        data, tmp_path / "b", recipes=ways, budgets={"smoke": {**smoke, "recipes": ["none"]}}
    )
    assert {
        part.recipe for part in parts_of(load_comparison(CompareOptions(recipe=only)), entries)
    } == {"none"}


def test_a_share_of_the_labels_is_the_same_for_all_seeds_or_drawn_by_each(
    data: Path, tmp_path: Path, entries: list[ManifestEntry]
) -> None:
    smoke = {"pretrain_steps": 2, "finetune_steps": 3, "folds": 2, "run_folds": 1, "seeds": [1, 2],
             "shares": [0.5, 1.0], "recipes": ["none"]}  # fmt: skip
    for by_seed, expected in ((False, [0, 0, 0, 0]), (True, [1, 0, 2, 0])):
        budgets = {"smoke": {**smoke, "labels_by_seed": by_seed}}
        path = recipe(data, tmp_path / "a", budgets=budgets)
        parts = parts_of(load_comparison(CompareOptions(recipe=path)), entries)
        assert [part.finetune.data.label_seed for part in parts] == expected
        assert [part.share for part in parts] == [0.5, 1.0, 0.5, 1.0]


def test_interrupted_anywhere_and_resumed_it_writes_the_same_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["compare", "--recipe", str(recipe(data, tmp_path / "whole"))]) == 0
    parts = recipe(data, tmp_path / "parts")
    real_step, real_score = loop.Descent.step, compare_part.evaluate
    calls = {"steps": 0, "scored": 0}

    def step(*arguments: Any) -> float:
        rate = real_step(*arguments)
        calls["steps"] += 1
        if calls["steps"] in (2, 5, 8, 9):
            signal.raise_signal(signal.SIGTERM)
        return rate

    def score(*arguments: Any, **options: Any) -> Any:
        calls["scored"] += 1
        if calls["scored"] == 2:
            signal.raise_signal(signal.SIGINT)
        return real_score(*arguments, **options)

    monkeypatch.setattr(loop.Descent, "step", step)
    monkeypatch.setattr(compare_part, "evaluate", score)
    codes = []
    while not codes or codes[-1] == 4:
        codes.append(cli.main(["compare", "--recipe", str(parts)]))
        assert len(codes) < 9
    assert codes == [4] * (len(codes) - 1) + [0]
    assert len(codes) >= 5
    assert calls["steps"] == 2 * 2 + 6 * 3, "no step was done twice"
    assert calls["scored"] == 7
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


@pytest.mark.parametrize(
    ("taken", "left"),
    [("out/smoke/parts/none/fold0-seed0-labels100", 1), ("out/smoke/pretrain/isd-mae-fold0", 2),
     ("cache", 6)],
)  # fmt: skip
def test_what_another_process_has_taken_is_left_to_it_until_it_dies(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str, left: int
) -> None:
    path = recipe(data, tmp_path / "out")
    plain = yaml.safe_load(path.read_text())
    plain["prepare"]["out"] = str(tmp_path / "cache")
    path.write_text(yaml.safe_dump(plain))
    (tmp_path / taken).mkdir(parents=True)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / taken)], stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    done_without = []

    def wait(_seconds: float) -> None:
        done_without.append(len(list(tmp_path.rglob("parts/*/*/done.json"))))
        other.kill()
        other.wait()

    monkeypatch.setattr(compare, "time", SimpleNamespace(sleep=wait))
    try:
        assert cli.main(["compare", str(path)]) == 0
    finally:
        other.kill()
        other.communicate()
    assert done_without == [6 - left]
    assert json.loads(tables(tmp_path / "out")["json"])["parts"] == {"done": 6, "all": 6}


def test_parts_of_one_pre_training_are_shared_as_soon_as_it_is_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the other process has a part for as long as this one looks once round all others."""
    path = recipe(data, tmp_path / "out", recipes={"none": {}})
    real, tried = compare.do_part, []

    def do(part: Any, *rest: Any) -> None:
        tried.append(part.title)
        if len(tried) in (1, 2, 5):
            raise InputError("in-use", "Another process works there.", "Wait.")
        real(part, *rest)

    monkeypatch.setattr(compare, "do_part", do)
    monkeypatch.setattr(compare, "time", SimpleNamespace(sleep=lambda _: tried.append("slept")))
    assert cli.main(["compare", str(path)]) == 0
    first, second = tried[:2]
    assert tried == [first, second, "slept", first, second, "slept", second]
    assert json.loads(tables(tmp_path / "out")["json"])["parts"] == {"done": 2, "all": 2}


def test_what_another_configuration_has_made_is_refused_before_the_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert cli.main(["compare", str(recipe(data, out, recipes={"none": {}}))]) == 0
    shutil.rmtree(out / "smoke/parts/none/fold0-seed0-labels100")
    monkeypatch.setattr(compare_part, "finetune", lambda config: pytest.fail("it was begun"))
    changed = {"finetune": {"loop": {"learning_rate": 0.5}}, "recipes": {"none": {}}}
    assert cli.main(["compare", str(recipe(data, out, **changed))]) == 2


def test_a_process_that_waits_for_another_can_be_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: Any) -> None:
        raise InputError("in-use", "Another process works there.", "Wait.")

    monkeypatch.setattr(compare, "do_part", taken)
    asked = SimpleNamespace(sleep=lambda _: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(compare, "time", asked)
    assert cli.main(["compare", str(recipe(data, tmp_path / "out"))]) == 4


def test_a_finished_comparison_does_nothing_again_and_refuses_another_configuration(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    only = {"recipes": {"none": {}}, "budgets": {"smoke": {
        "pretrain_steps": 2, "finetune_steps": 2, "folds": 2, "run_folds": 1}}}  # fmt: skip
    path = recipe(data, out, **only)
    assert cli.main(["compare", str(path)]) == 0
    before = tables(out)
    assert json.loads(before["json"])["parts"]["all"] == 1
    monkeypatch.setattr(compare_part, "finetune", lambda config: pytest.fail("it was done"))
    assert cli.main(["compare", str(path)]) == 0
    assert tables(out) == before
    other = recipe(data, out, **only, finetune={"loop": {"learning_rate": 0.5}})
    assert cli.main(["compare", str(other)]) == 2
    assert "loop.learning_rate was 0.001 and is 0.5" in caplog.text
    record = next(out.rglob("parts/*/*/done.json"))
    record.write_text(record.read_text()[:40])
    with pytest.raises(pytest.fail.Exception, match="it was done"):
        cli.main(["compare", str(path)])
    assert "is damaged; the part is done again" in caplog.text


def test_another_way_of_scoring_scores_anew_and_trains_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert cli.main(["compare", str(recipe(data, out, recipes={"none": {}}))]) == 0
    before = tables(out)
    monkeypatch.setattr(loop.Descent, "step", lambda *_: pytest.fail("it was trained"))
    changed = {"recipes": {"none": {}}, "tolerance_mm": 30.0}
    caplog.set_level("INFO", "isdmae_train")
    assert cli.main(["compare", str(recipe(data, out, **changed))]) == 0
    assert "what is trained is kept, and scored anew" in caplog.text
    surface = [
        [float(row["nsd_mean"] or 0) for row in csv.DictReader(one["csv"].splitlines())]
        for one in (before, tables(out))
    ]
    assert surface[0] < surface[1]


def test_from_scratch_with_the_steps_of_both_trainings_is_a_baseline(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    path = recipe(data, out, recipes={"none": {}, "none-long": {"all_steps": True}})
    assert cli.main(["compare", str(path)]) == 0
    text = tables(out)["md"]
    assert "Without pre-training, 5 steps of fine-tuning: none-long." in text
    logs = {
        name: (out / f"smoke/parts/{name}/fold0-seed0-labels100/finetune/log.jsonl").read_text()
        for name in ("none", "none-long")
    }
    assert [json.loads(log.splitlines()[-1])["step"] for log in logs.values()] == [3, 5]
    monkeypatch.setattr(compare_part, "finetune", lambda config: pytest.fail("it was done"))
    assert cli.main(["compare", str(path), "--baseline", "none-long"]) == 0
    rows = json.loads(tables(out)["json"])["rows"]
    assert {row["recipe"] for row in rows if "dice_difference" in row} == {"none"}


def test_a_start_that_is_trained_anew_between_two_parts_is_noticed(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, first, start = tmp_path / "out", tmp_path / "first", tmp_path / "start"
    assert cli.main(["compare", str(recipe(data, first, recipes={"none": {}}))]) == 0
    parts = first / "smoke" / "parts" / "none"
    shutil.copytree(parts / "fold0-seed0-labels100" / "bundle", start)
    path = recipe(data, out, recipes={"none": {"finetune_with": {"start": str(start)}}})
    assert cli.main(["compare", str(path)]) == 0
    assert cli.main(["compare", str(path)]) == 0
    shutil.rmtree(start)
    assert cli.main(["compare", str(path)]) == 0, "what is done does not need it any more"
    shutil.copytree(parts / "fold1-seed0-labels100" / "bundle", start)
    assert cli.main(["compare", str(path)]) == 2
    assert f"began with other weights of {start}" in caplog.text
    for record in out.rglob("parts/*/*/weights.json"):
        record.unlink()
    assert cli.main(["compare", str(path)]) == 0, "parts of an older version say nothing of it"


def test_the_recipe_of_prepare_is_named_and_the_split_lies_beside_the_recipe(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(data, tmp_path / "out", split="split.csv")
    plain = yaml.safe_load(path.read_text())
    named = tmp_path / "named.yaml"
    named.write_text(yaml.safe_dump({**plain["prepare"], "phantoms": 1}))
    plain["prepare"] = {"recipe": str(named), "phantoms": 2}
    path.write_text(yaml.safe_dump(plain))
    (tmp_path / "split.csv").write_text("patient,fold\np0,0\np1,0\np2,1\np3,1\n")
    monkeypatch.chdir(data)
    config = load_comparison(CompareOptions(recipe=path))
    assert (config.prepare.phantoms, len(config.prepare.scans)) == (2, PATIENTS + 1)
    assert config.split == tmp_path / "split.csv"


def test_a_cache_of_other_data_is_refused_and_one_that_prepare_made_is_taken(
    data: Path, tmp_path: Path
) -> None:
    path = recipe(data, tmp_path / "out")
    plain = yaml.safe_load(path.read_text())
    cache = tmp_path / "cache"

    def once(other: Path | None = None, **changes: Any) -> bytes:
        prepared = {**plain["prepare"], "out": str(cache), **changes}
        path.write_text(yaml.safe_dump({**plain, "prepare": prepared}))
        options = CompareOptions(recipe=path, data=other)
        return prepare_once(load_comparison(options).prepare).read_bytes()

    before = once()
    assert once(data / "cache" / "..") == before, "the same folder"
    assert once(workers=1) == before
    with pytest.raises(InputError, match="was prepared from something else: data differ"):
        once(tmp_path)
    with pytest.raises(InputError, match="scans, phantoms differ"):
        once(phantoms=1, scans=plain["prepare"]["scans"][:2])
    assert (cache / "manifest.jsonl").read_bytes() == before
    assert cli.main(["prepare", "--data", str(data), "--out", str(cache), "--phantoms", "1"]) == 0
    assert once(phantoms=2) != before, "since prepare has made it, the record says nothing of it"
    (cache / RECORD).unlink()
    assert once(phantoms=2) != before


def test_a_part_that_diverges_is_named_and_the_others_go_on(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wild = {"finetune_with": {"loop": {"learning_rate": 1.0e30}}}
    path = recipe(data, out, recipes={"none": {}, "wild": wild})
    assert cli.main(["compare", str(path)]) == 0
    facts = json.loads(tables(out)["json"])
    assert facts["parts"]["done"] == 4
    assert {row["recipe"] for row in facts["rows"]} == {"none"}
    assert "Diverged: wild, fold 0, seed 0, share 1: The loss is" in tables(out)["md"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "other"}, "the recipes are none, isd-mae, isd-mae-slow, not 'other'"),
        ({"budgets": {"smoke": {"pretrain_steps": 1, "finetune_steps": 1, "recipes": ["x"]}}},
         "not 'x'"),
        ({"budget": "cloud"}, "the budgets are smoke, not 'cloud'"),
        ({"recipes": {"none": {"pretrain": "pretrain/isd-mae", "all_steps": True}}},
         "all_steps are fine-tuning's"),
        ({"labels": []}, "labels names one at least"),
        ({"lung_model": "nowhere"}, "There is no model 'nowhere'"),
        ({"lung_model": "lungs", "recipes": {"none": {"finetune_with": {"spatial_dims": 3}}}},
         "lung_model is for 2D networks"),
        ({"labels": ["nodule"]}, "No scan has the labels nodule"),
        ({"recipes": {"none": {}, "../x": {}}}, "a recipe's name is letters"),
        ({"common": {"colour": 1}}, "unknown entry 'colour'"),
        ({"recipes": {"none": {"pretrain": "nowhere.yaml"}}}, "nowhere.yaml cannot be read"),
        ({"budgets": {"smoke": {"pretrain_steps": 0, "finetune_steps": 1}}}, "steps are 1 or more"),
        ({"budgets": {"smoke": {"pretrain_steps": 1, "finetune_steps": 1, "shares": [0.0]}}},
         "shares lie in 0..1"),
        ({"budgets": {"smoke": {"pretrain_steps": 1, "finetune_steps": 1, "folds": 9}}},
         "4 patients cannot be split into 9 folds"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_work_is_refused_before_the_work(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any],
    message: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(compare_part, "finetune", lambda config: pytest.fail("it was begun"))
    assert cli.main(["compare", str(recipe(data, tmp_path / "out", **changes))]) == 2
    assert message in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "compare-2d", "compare-3d", "compare-nodules", "compare-options", "compare-views",
        "lesion-cv", "nodule-cv",
    ],
)  # fmt: skip
def test_each_budget_of_a_published_comparison_is_valid(
    entries: list[ManifestEntry], name: str
) -> None:
    labels = ("lesion", "nodule", "left lung", "right lung")
    entries = [replace(entry, labels=labels) for entry in entries]
    path = RECIPES / f"{name}.yaml"
    for budget in read_yaml(path)["budgets"]:
        config = load_comparison(CompareOptions(recipe=path, budget=budget))
        # Only the folds are changed: these data have few patients. Every budget must serve recipes
        # with a pre-training, too, whether it runs one today or not.
        few = replace(config.budgets[budget], folds=2)
        if few.recipes:
            few = replace(few, recipes=(*few.recipes, "pre-trained"))
        recipes = {**config.recipes, "pre-trained": CompareRecipe(pretrain="pretrain/isd-mae")}
        config = replace(config, budgets={budget: few}, recipes=recipes, split=None)
        parts = parts_of(config, entries)
        steps = {part.finetune.loop.steps for part in parts if part.recipe.endswith("-long")}
        assert steps <= {few.pretrain_steps + few.finetune_steps}
        steps = {part.finetune.loop.steps for part in parts if not part.recipe.endswith("-long")}
        assert steps == {few.finetune_steps}
        for part in parts:
            if budget.startswith("gpu"):
                assert part.finetune.loop.workers >= 8, "a GPU does not wait for its loaders"
                assert part.finetune.data.augment.on_device
            network_shape(part.finetune)  # its slices or cubes fit
            if part.pretrain is not None:
                network_shape(part.pretrain)
                assert part.pretrain.spatial_dims == part.finetune.spatial_dims
                assert part.pretrain.encoder == part.finetune.encoder
                assert part.pretrain.size == part.finetune.size
                assert part.pretrain.preprocess == part.finetune.preprocess
