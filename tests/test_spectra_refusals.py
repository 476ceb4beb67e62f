"""What is wrong with weights is said in one sentence or by the right check, never in a wrong number."""

import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.files import read_json
from data.workspace import PROJECT_ROOT
from tests.programs import relearn
from tests.weight_folders import UP, adapter, called, gaussian, model, outcomes, said


@pytest.mark.parametrize("rank", [1, 2, 5, 7])
def test_low_ranks_get_no_exponent(tmp_path: Path, rank: int) -> None:
    content = said(adapter(tmp_path / "adapter", rank), "--base", model(tmp_path / "base"))
    for layer in content["layers"]:
        assert (layer["alpha"], layer["status"], layer["rank"]) == (None, "few", rank)
        assert layer["spectral_norm"] > 0
    assert set(outcomes(content, "alpha")) == {"insufficient"}
    assert set(outcomes(content, "integrity")) == {"pass"}


STRANGE = {
    "nan": (torch.full((20, 20), math.nan), "not_finite", "fail"),
    "infinite": (torch.full((20, 20), math.inf), "not_finite", "fail"),
    "zero": (torch.zeros(20, 20), "zero", "pass"),
    "one row": (gaussian(1, 30), "few", "pass"),
    "one entry": (gaussian(1, 1), "few", "pass"),
    "equal": (torch.eye(20), "equal", "pass"),
    "too large": (torch.full((20, 20), 1e300, dtype=torch.float64), "not_finite", "fail"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_tensors_have_a_status_and_no_number_that_is_wrong(tmp_path: Path, name: str) -> None:
    tensor, status, integrity = STRANGE[name]
    file = tmp_path / "m.safetensors"
    save_file({"strange.weight": tensor, "usual.weight": gaussian(60, 40)}, file)
    content = said(file, "--randomize", "--determinant")
    strange, usual = content["layers"]
    assert (strange["status"], strange["alpha"]) == (status, None)
    assert outcomes(content, "integrity") == [integrity, "pass"]
    assert outcomes(content, "alpha")[0] == "insufficient"
    assert usual["status"] == "success", "the others are reported all the same"
    for output in ("--csv", "--html"):
        done = called(file, output, *([tmp_path / "page.html"] if output == "--html" else []))
        assert done.exit_code == 0
    assert "NaN" not in (tmp_path / "page.html").read_text()
    assert called(file).exit_code == 0


def test_an_adapter_with_a_broken_layer_or_a_broken_base_is_reported(tmp_path: Path) -> None:
    base, one = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    file = one / "adapter_model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values()))[0, 0] = math.nan
    save_file(tensors, file)
    content = said(one, "--base", base)
    assert sorted(outcomes(content, "integrity")) == ["fail", "pass"]
    assert sorted(outcomes(content, "exploded")) == ["insufficient", "pass"]


def no_such(folder: Path) -> tuple[str | Path, ...]:
    return (folder / "nothing",)


def truncated(folder: Path) -> tuple[str | Path, ...]:
    file = model(folder / "m") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-500])
    return (folder / "m",)


def truncated_archive(folder: Path) -> tuple[str | Path, ...]:
    file = folder / "m.pt"
    torch.save({"a.weight": gaussian(30, 30)}, file)
    file.write_bytes(file.read_bytes()[:-700])
    return (file,)


def half_of_the_shards(folder: Path) -> tuple[str | Path, ...]:
    homes = {f"a.{place}.weight": f"model-{place}.safetensors" for place in range(4)}
    for place in (0, 2):
        save_file({f"a.{place}.weight": gaussian(9, 9)}, folder / f"model-{place}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    return (folder,)


def bare_pickle(folder: Path) -> tuple[str | Path, ...]:
    (folder / "m.pkl").write_bytes(pickle.dumps({"a": 1}))
    return (folder / "m.pkl",)


class Runs:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("open('/tmp/relearn-was-run', 'w')",))


def pickle_in_an_archive(folder: Path) -> tuple[str | Path, ...]:
    torch.save({"a.weight": Runs()}, folder / "m.pt")
    return (folder / "m.pt",)


def other_base(folder: Path) -> tuple[str | Path, ...]:
    return adapter(folder / "adapter"), "--base", model(folder / "base", side=44)


def base_without_the_layer(folder: Path) -> tuple[str | Path, ...]:
    return adapter(folder / "adapter", blocks=3), "--base", model(folder / "base")


def no_matrix(folder: Path) -> tuple[str | Path, ...]:
    save_file({"norm.weight": gaussian(9)}, folder / "m.safetensors")
    return (folder / "m.safetensors",)


def no_weights(folder: Path) -> tuple[str | Path, ...]:
    shutil.copy(PROJECT_ROOT / "README.md", folder)
    return (folder,)


def broken_config(folder: Path) -> tuple[str | Path, ...]:
    (adapter(folder / "a") / "adapter_config.json").write_text('{"peft_type": ')
    return (folder / "a",)


def intruders_without_a_base(folder: Path) -> tuple[str | Path, ...]:
    return adapter(folder / "a"), "--intruders"


def two_outputs(folder: Path) -> tuple[str | Path, ...]:
    return model(folder / "m"), "--json", "--csv"


def no_such_device(folder: Path) -> tuple[str | Path, ...]:
    return model(folder / "m"), "--device", "abacus"


def page_onto_a_folder(folder: Path) -> tuple[str | Path, ...]:
    return model(folder / "m"), "--html", folder


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (no_such, "does not exist"),
        (truncated, "could not be read as safetensors"),
        (truncated_archive, "neither safetensors nor a PyTorch archive"),
        (half_of_the_shards, "2 are missing"),
        (bare_pickle, "could run code"),
        (pickle_in_an_archive, "more than tensors"),
        (other_base, "Give the base that it was trained on"),
        (base_without_the_layer, "Give the base that the adapter was trained on"),
        (no_matrix, "no weight matrix"),
        (no_weights, "holds no safetensors file"),
        (broken_config, "adapter_config.json"),
        (intruders_without_a_base, "Name it (--base)"),
        (two_outputs, "exclude each other"),
        (no_such_device, "abacus"),
        (page_onto_a_folder, "is no HTML page"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, wrong: Any, says: str) -> None:
    arguments = wrong(tmp_path)
    done = relearn("spectra", *map(str, arguments))
    assert (done.returncode, done.stdout) == (2, "")
    told = [line for line in done.stderr.splitlines() if line.startswith("relearn: ")]
    assert len(told) == 1
    assert says in told[0]
    assert not Path("/tmp/relearn-was-run").exists(), "a pickle is never run"


def test_a_declared_rank_that_is_not_there_fails(tmp_path: Path) -> None:
    content = said(adapter(tmp_path / "adapter", rank=4, r=16), "--base", model(tmp_path / "base"))
    assert set(outcomes(content, "integrity")) == {"fail"}
    assert read_json(tmp_path / "adapter" / "adapter_config.json")["r"] == 16


def test_half_an_adapter_fails(tmp_path: Path) -> None:
    one = adapter(tmp_path / "adapter", blocks=1, target_modules=["up_proj"])
    page = tmp_path / "page.html"
    content = said(one, "--base", model(tmp_path / "base"), "--html", page)
    assert outcomes(content, "integrity") == ["pass", "fail"]
    (whole,) = (check for check in content["whole"] if check["check"] == "integrity")
    assert whole["reason"].startswith(f"Of 2 layers 1 fail; {UP.format(1)}, for one: the adapter's configuration names")
    assert UP.format(1) in page.read_text()
