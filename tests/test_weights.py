"""Whatever lies where a model should be: its tensors, or one clear sentence, and no code of its own is run."""

import math
import os
import pickle
import pwd
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data.errors import InputError
from models.spectra import analyze, layer_spectra, left_out
from models.tensors import natural
from models.weights import opened
from tests.matrices import single
from tests.weight_files import NAMES, layer_spectra_of, refusal, sharded, state

# --- what can be read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda path: save_file(state(), path / "model.safetensors"),
        lambda path: save_file(state(), path / "anything.safetensors"),
        lambda path: torch.save(state(), path / "pytorch_model.bin"),
        lambda path: torch.save({"state_dict": state(), "epoch": 3}, path / "model.pt"),
        lambda path: torch.save(state() | {"step": 7, "lr": 0.1}, path / "model.pt"),
        sharded,
        lambda path: sharded(path, "bin", "pytorch_model"),
        lambda path: sharded(path, stem="diffusion_pytorch_model"),
        lambda path: (sharded(path) / "model.safetensors.index.json").unlink(),
    ],
    ids=[
        "safetensors", "other name", "archive", "nested", "with numbers", "shards", "archive shards", "other stem",
        "shards without index",
    ],
)  # fmt: skip
def test_the_same_tensors_in_any_file(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path)
    if not (tmp_path / "model.pt").exists():
        (tmp_path / "training_args.bin").write_bytes(pickle.dumps({"left": "by training"}))
    assert layer_spectra_of(tmp_path) == layer_spectra_of(state())


def test_a_module_and_its_state_are_the_same_and_may_have_a_base(tmp_path: Path) -> None:
    torch.manual_seed(2)
    module, other = (torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.Linear(20, 9)) for _ in range(2))
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    assert analyze(module).equals(analyze(module.state_dict()))
    frames = [analyze(module, base) for base in (tmp_path, str(tmp_path), other, other.state_dict())]
    assert all(frame.equals(frames[0]) for frame in frames)
    assert list(frames[0]["kind"]) == ["delta", "delta"]
    change = float((module.state_dict()["0.weight"] - other.state_dict()["0.weight"]).double().norm()) ** 2
    assert frames[0]["norm"][0] == pytest.approx(change)
    assert list(analyze(module, module)["status"]) == ["zero", "zero"]


def test_half_of_a_pair_of_shared_weights_is_enough(tmp_path: Path) -> None:
    shared = single(20, 12)
    tied = {"model.embed_tokens.weight": shared, "lm_head.weight": shared}
    save_file({"model.embed_tokens.weight": shared.clone()}, tmp_path / "model.safetensors")
    assert list(analyze(tied)["longname"]) == ["lm_head", "model.embed_tokens"]
    assert list(analyze(tied, tmp_path)["longname"]) == ["model.embed_tokens"]


ODD = ["²", "layer.².weight", "", ".", "a b/c\n.weight", "слой.0.weight", "\ud800.weight", "٣.1", "9" * 5000]


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_any_name_is_a_name(name: str) -> None:
    frame = analyze({name: single(12, 9), "x.10.weight": single(9, 9), "x.2.weight": single(9, 9)}, randomize=True)
    assert len(frame) == 3
    assert [one for one in frame["longname"] if one.startswith("x.")] == ["x.2", "x.10"]


def test_any_names_have_an_order() -> None:
    names = [*ODD, "a.10", "a.9", "a.b", "a", "a.1.b"]
    other = list(reversed(names))
    assert sorted(names, key=natural) == sorted(other, key=natural)
    assert sorted(["a.10", "a.9", "a.b", "a"], key=natural) == ["a", "a.b", "a.9", "a.10"]


def test_tables_of_the_architecture_are_no_weights(tmp_path: Path) -> None:
    tables = {
        "relative_position_index": torch.arange(64).reshape(8, 8),
        "mask": torch.ones(8, 8, dtype=torch.bool),
        "rotary": torch.ones(8, 8, dtype=torch.complex64),
        "h.0.attn.bias": torch.tril(torch.ones(1, 1, 8, 8)),
        "_extra_state": b"bytes",
        "steps": 4,
    }
    assert list(analyze(tables | {"a.weight": single(9, 9)})["longname"]) == ["a"]  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no weight matrix"):
        analyze(tables)  # type: ignore[arg-type]
    stored = {name: tensor for name, tensor in tables.items() if isinstance(tensor, Tensor)}
    save_file(stored | {"a.weight": single(9, 9)}, tmp_path / "model.safetensors")
    assert list(analyze(tmp_path)["longname"]) == ["a"]


# --- tensors that are no weights as they stand -----------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a.weight": torch.ones(9, 9, dtype=torch.int8)}, "torch.int8, quantised"),
        ({"a.weight": torch.ones(9, 1, dtype=torch.uint8)}, "torch.uint8, quantised"),
        ({"a.qweight": torch.ones(9, 9, dtype=torch.int32)}, "torch.int32, quantised"),
        ({"a.weight": torch.ones(9, 9).to(torch.float8_e4m3fn), "a.weight_scale_inv": torch.ones(1, 1)}, "_scale_inv"),
        ({"a.weight": torch.ones(9, 9).to(torch.float8_e4m3fn), "a.weight_scale": torch.ones(1)}, "weight_scale"),
        ({"a.weight": torch.eye(9).to_sparse()}, "dense"),
        ({"a.weight": torch.empty(9, 9, device="meta")}, "meta device"),
        ({"a.lora_A.weight": torch.ones(2, 9), "a.lora_B.weight": torch.ones(9, 2)}, "adapter's folder"),
        ({"a.bias": torch.ones(9)}, "no weight matrix"),
        ({}, "no weight matrix"),
    ],
)
def test_what_is_no_plain_weight_is_refused(tensors: dict[str, Tensor], said: str) -> None:
    with pytest.raises(InputError, match=said):
        analyze(tensors)


def test_a_quantised_base_is_refused_too() -> None:
    with pytest.raises(InputError, match=r"base of dict is torch.int8, quantised"):
        analyze({"a.weight": single(9, 9)}, {"a.weight": torch.ones(9, 9, dtype=torch.int8)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_tensor_is_one_layer_s_matter(value: float) -> None:
    broken = state()
    broken[NAMES[1]][0, 0] = value
    for base in (None, state()):
        frame = analyze(broken, base, randomize=True, detX=True, intruders=base is not None)
        assert list(frame["finite"]) == [True, False, True, True]
        assert frame["status"][1] == "not_finite"
        assert frame["alpha"].isna()[1]


@pytest.mark.parametrize("other", [{"b.weight": (14, 11)}, {NAMES[0]: (14, 12)}, {NAMES[0]: (14, 11, 3)}])
def test_another_model_is_no_base(other: dict[str, tuple[int, ...]]) -> None:
    base = {name: single(*shape) for name, shape in other.items()}
    with pytest.raises(InputError, match=r"no weight matrix that the base has|was trained from"):
        analyze(state(1), base)


def test_what_only_one_of_checkpoint_and_base_has_is_said() -> None:
    """A new head has nothing to be compared with; neither it nor what a checkpoint lacks is dropped without a word."""
    for model, base, said in (
        (state(3), state(), "1 of the 4 matrices of the base, layers.3.weight for one."),
        (state(), state(2), "2 of the 4 matrices of the checkpoint, layers.2.weight for one."),
    ):
        with pytest.warns(UserWarning, match=re.escape(said)):
            frame = analyze(model, base)
        assert list(frame["longname"]) == [name.removesuffix(".weight") for name in model if name in base]
        assert left_out(model, base).startswith("Left out, as the other lacks them: ")
    assert left_out(state(), state()) == left_out(state(), None) == ""


@pytest.mark.parametrize("stored", ["model.embed_tokens.weight", "transformer.wte.weight"])
def test_a_head_that_shares_its_weight_is_lacked_by_nobody(stored: str) -> None:
    one = {stored: single(20, 12)}
    both = one | {"lm_head.weight": one[stored]}
    vectors = {"norm.weight": single(9), "norm.bias": single(9)}
    for model, base in ((one, both), (both, one), (both, both), (one | vectors, both)):
        assert len(analyze(model, base)) == (2 if len(model) == len(base) == 2 and base is model else 1)
        assert left_out(model, base) == ""


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    from tests.refused import refused

    user = pwd.getpwuid(os.geteuid()).pw_name
    for name, write in (("model.safetensors", save_file), ("model.pt", torch.save)):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        write(state(), folder / name)
        with refused(folder / name):
            assert f"{name} cannot be read by {user} (Permission denied)" in refusal(folder / name)
            with pytest.raises(InputError, match=rf"{name} cannot be read by {user} \(Permission denied\)"):
                list(layer_spectra(folder))
        with refused(folder):
            assert f"cannot be read by {user} (Permission denied)" in refusal(folder / name)
            assert f"{folder} cannot be read by {user} (Permission denied)" in refusal(folder)


def test_a_shard_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    from tests.refused import refused

    shard = sharded(tmp_path) / "model-00003-of-00004.safetensors"
    with refused(shard), pytest.raises(InputError, match=rf"{shard.name} cannot be read by \w+ \(Permission denied\)"):
        list(layer_spectra(tmp_path))


def test_opened_files_are_closed(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    with opened(tmp_path) as tensors:
        assert tensors.names() == NAMES
        assert tensors.shape(NAMES[0]) == (14, 11)
        assert NAMES[0] in tensors
        assert "other" not in tensors
