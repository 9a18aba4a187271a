"""Bundles: what is written is read, what was tampered with is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from isdmae.bundle import (
    INFO_NAME,
    MODELS_VARIABLE,
    WEIGHTS_NAME,
    Bundle,
    find_bundle,
    list_bundles,
    models_folders,
    read_bundle,
    verify,
    write_bundle,
)
from isdmae.errors import InputError
from isdmae.networks.segmenter import Segmenter
from tiny_model import TINY_NETWORK, tiny_info


def edit(bundle: Bundle, **changes: Any) -> None:
    path = bundle.folder / INFO_NAME
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **changes}), encoding="utf-8")


def replace_weights(bundle: Bundle, weights: dict[str, torch.Tensor]) -> None:
    """Exchange the weights and make size and hash fit, as an attacker would."""
    import hashlib

    path = bundle.folder / WEIGHTS_NAME
    save_file(weights, path)
    data = path.read_bytes()
    edit(bundle, weights={"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})


def test_a_written_bundle_reads_back(tiny_bundle: Bundle) -> None:
    again = read_bundle(tiny_bundle.folder)
    assert again.info == tiny_bundle.info
    torch.manual_seed(0)
    expected = Segmenter(TINY_NETWORK, classes=3).state_dict()
    found = again.load_network().state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_found_by_folder_and_by_name(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_bundle(tiny_bundle.folder).info.name == "tiny"
    monkeypatch.setenv(
        MODELS_VARIABLE, os.pathsep.join(["/nowhere", str(tiny_bundle.folder.parent)])
    )
    assert models_folders()[1] == tiny_bundle.folder.parent
    assert find_bundle("tiny").folder == tiny_bundle.folder
    assert "tiny" in [bundle.info.name for bundle in list_bundles()]
    with pytest.raises(InputError, match=r"no model 'tinny' \(found: .*tiny"):
        find_bundle("tinny")
    with pytest.raises(InputError, match="no model"):
        find_bundle("../tiny")


def test_a_broken_bundle_is_left_out_of_the_list(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tiny_bundle.folder.parent))
    (tiny_bundle.folder / INFO_NAME).write_text("{", encoding="utf-8")
    assert "tiny" not in [bundle.folder.name for bundle in list_bundles()]


def test_a_changed_byte_is_noticed(tiny_bundle: Bundle) -> None:
    path = tiny_bundle.folder / WEIGHTS_NAME
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="does not match its SHA-256"):
        verify(tiny_bundle)


def test_missing_short_and_linked_weights_are_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tiny_bundle.folder / WEIGHTS_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match="another size"):
        verify(tiny_bundle)
    path.unlink()
    with pytest.raises(InputError, match="missing or a link"):
        verify(tiny_bundle)
    (tmp_path / "elsewhere").write_bytes(whole)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="missing or a link"):
        verify(tiny_bundle)


def test_other_tensors_than_the_network_has_are_refused(tiny_bundle: Bundle) -> None:
    weights = tiny_bundle.load_network().state_dict()
    replace_weights(tiny_bundle, {**weights, "../../evil": torch.zeros(1)})
    with pytest.raises(InputError, match=r"'\.\./\.\./evil' is missing or unknown"):
        verify(read_bundle(tiny_bundle.folder))
    replace_weights(tiny_bundle, {**weights, "head.bias": torch.zeros(4)})
    with pytest.raises(InputError, match=r"head\.bias' has another shape"):
        verify(read_bundle(tiny_bundle.folder))
    replace_weights(tiny_bundle, {**weights, "head.bias": weights["head.bias"].double()})
    with pytest.raises(InputError, match="another shape or type"):
        verify(read_bundle(tiny_bundle.folder))


def test_a_pickle_is_not_loaded(tiny_bundle: Bundle, tmp_path: Path) -> None:
    import hashlib

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    data = pickle.dumps(Evil())
    (tiny_bundle.folder / WEIGHTS_NAME).write_bytes(data)
    edit(tiny_bundle, weights={"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(InputError, match="is damaged"):
        verify(read_bundle(tiny_bundle.folder))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "2 is none of 1"),
        ({"_target_": "os.system"}, "unknown entry"),
        ({"name": "a/b"}, "no name for a model"),
        ({"labels": []}, "input channels|weights|missing|labels|shape"),
        ({"takes": ["mri"]}, "'mri' is none of"),
        ({"preprocess": {"edges": False}}, "input channels differ"),
    ],
)
def test_a_wrong_model_json_is_refused(
    tiny_bundle: Bundle, changes: dict[str, Any], message: str
) -> None:
    edit(tiny_bundle, **changes)
    with pytest.raises(InputError, match=message):
        verify(read_bundle(tiny_bundle.folder))


def test_labels_must_count_up(tmp_path: Path) -> None:
    info = tiny_info()
    info["labels"] = info["labels"][::-1]
    with pytest.raises(InputError, match="must count 1, 2, 3"):
        write_bundle(tmp_path / "b", info, {})


def test_huge_deep_or_binary_json_is_refused(tiny_bundle: Bundle) -> None:
    path = tiny_bundle.folder / INFO_NAME
    for content in (b"[" * 100_000, b"\xff\xfe", b"", b" " * 1_000_001):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be (read|used)"):
            read_bundle(tiny_bundle.folder)


def test_a_folder_of_the_same_name_does_not_hide_a_model(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tiny_bundle.folder.parent))
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tiny").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert find_bundle("tiny").folder == tiny_bundle.folder
    with pytest.raises(InputError, match="There is no model"):
        find_bundle("x" * 400)


def test_a_huge_network_in_the_description_costs_no_memory(tiny_bundle: Bundle) -> None:
    edit(tiny_bundle, network={"widths": [2048] * 8, "blocks": [0, *[32] * 7]})
    with pytest.raises(InputError, match=r"is missing or unknown|another shape"):
        verify(read_bundle(tiny_bundle.folder))


def test_weights_that_are_not_finite_are_refused(tiny_bundle: Bundle) -> None:
    weights = dict(tiny_bundle.load_network().state_dict())
    weights["head.bias"] = torch.full_like(weights["head.bias"], float("nan"))
    replace_weights(tiny_bundle, weights)
    with pytest.raises(InputError, match="NaN or infinite"):
        verify(read_bundle(tiny_bundle.folder))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ".."}, "no name for a model"),
        ({"takes": []}, "neither a CT nor a picture"),
        ({"title": "lungs \x1b[2J"}, "control characters"),
        ({"format_version": True}, "is none of 1"),
        ({"postprocess": {"smallest_ml": float("nan")}}, "finite number"),
        ({"within": "tiny"}, "its own result first"),
        ({"views": []}, "one or more different ones"),
        ({"views": ["axial", "axial"]}, "one or more different ones"),
        ({"smallest_body_cm2": -1.0}, "a body of -1.0 cm² is not plausible"),
    ],
)
def test_odd_entries_are_refused(tiny_bundle: Bundle, changes: dict[str, Any], words: str) -> None:
    edit(tiny_bundle, **changes)
    with pytest.raises(InputError, match=words):
        read_bundle(tiny_bundle.folder)


def test_a_model_of_points_sees_axial_crops_and_has_one_label(tiny_bundle: Bundle) -> None:
    from isdmae.labels import NODULE
    from isdmae.schema import to_plain

    label = {**to_plain(NODULE), "value": 1}
    edit(tiny_bundle, crop_edge=128, labels=[label])
    assert read_bundle(tiny_bundle.folder).info.crop_edge == 128
    for changes, words in (
        ({"crop_edge": 8}, "not plausible"),
        ({"views": ["axial", "coronal"]}, "axial crops"),
        ({"labels": tiny_info()["labels"]}, "one label"),
        ({"crop_edge": None, "search_within": "lungs"}, "only a model of points searches"),
    ):
        edit(tiny_bundle, **{"crop_edge": 128, "labels": [label], "views": ["axial"], **changes})
        with pytest.raises(InputError, match=words):
            read_bundle(tiny_bundle.folder)


def test_cubes_must_fit_the_stride_of_a_3d_network(tiny_bundle: Bundle) -> None:
    network = {"spatial_dims": 3, "in_channels": 5, "widths": [4, 8, 8], "blocks": [0, 1, 1]}
    edit(tiny_bundle, network=network, preprocess={"roi_size": [8, 16, 16]})
    assert read_bundle(tiny_bundle.folder).info.network.spatial_dims == 3
    edit(tiny_bundle, preprocess={"roi_size": [9, 16, 16]})
    with pytest.raises(InputError, match=r"\(9, 16, 16\) must be multiples of"):
        read_bundle(tiny_bundle.folder)


def test_weights_larger_than_any_model_are_not_read_into_memory(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = tiny_bundle.info.weights.bytes
    monkeypatch.setattr("isdmae.bundle.LARGEST_WEIGHTS_BYTES", size)
    verify(tiny_bundle)
    monkeypatch.setattr("isdmae.bundle.LARGEST_WEIGHTS_BYTES", size - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _path: pytest.fail("it was read"))
    with pytest.raises(InputError, match="larger than any model"):
        verify(tiny_bundle)


def test_a_panic_of_rust_for_want_of_memory_is_said_as_such(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no Exception, and ended the worker without an answer."""
    panic = type("PanicException", (BaseException,), {})

    def fail_with(error: type[BaseException]) -> None:
        def fail(_data: bytes) -> None:
            raise error("PyObject pointer is null")

        monkeypatch.setattr("safetensors.torch.load", fail)

    fail_with(panic)
    with pytest.raises(MemoryError):
        verify(tiny_bundle)
    fail_with(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        verify(tiny_bundle)


def test_an_entry_that_stands_twice_is_refused(tiny_bundle: Bundle) -> None:
    path = tiny_bundle.folder / INFO_NAME
    path.write_text(path.read_text("utf-8").replace("{", '{"name": "other",', 1), "utf-8")
    with pytest.raises(InputError, match="stands twice"):
        read_bundle(tiny_bundle.folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX matter")
def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / INFO_NAME)
    with pytest.raises(InputError, match="no file"):
        read_bundle(tmp_path)
