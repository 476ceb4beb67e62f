"""Whatever lies where a model should be: its tensors, or one clear sentence, and no code of its own is run."""

import contextlib
import json
import math
import os
import pickle
import pwd
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from data.errors import InputError
from models.spectra import analyze, layer_spectra, left_out
from models.tensors import natural
from models.weights import opened

NAMES = [f"layers.{number}.weight" for number in range(4)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def state(count: int = 4) -> dict[str, Tensor]:
    return {name: drawn(14, 11, seed=place) for place, name in enumerate(NAMES[:count])}


def sharded(folder: Path, suffix: str = "safetensors", stem: str = "model") -> Path:
    """Four tensors in four files with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    homes = {}
    for place, (name, tensor) in enumerate(state().items(), start=1):
        homes[name] = f"{stem}-{place:05d}-of-00004.{suffix}"
        if suffix == "safetensors":
            save_file({name: tensor}, folder / homes[name])
        else:
            torch.save({name: tensor}, folder / homes[name])
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    return folder


def refusal(path: Path) -> str:
    """What is said of it: one or two sentences for a person."""
    with pytest.raises(InputError) as caught:
        list(layer_spectra(path))
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 600
    assert path.name in said
    return said


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


def layer_spectra_of(source: Any) -> list[Any]:
    return list(layer_spectra(source))


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
    shared = drawn(20, 12)
    tied = {"model.embed_tokens.weight": shared, "lm_head.weight": shared}
    save_file({"model.embed_tokens.weight": shared.clone()}, tmp_path / "model.safetensors")
    assert list(analyze(tied)["longname"]) == ["lm_head", "model.embed_tokens"]
    assert list(analyze(tied, tmp_path)["longname"]) == ["model.embed_tokens"]


ODD = ["²", "layer.².weight", "", ".", "a b/c\n.weight", "слой.0.weight", "\ud800.weight", "٣.1", "9" * 5000]


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_any_name_is_a_name(name: str) -> None:
    frame = analyze({name: drawn(12, 9), "x.10.weight": drawn(9, 9), "x.2.weight": drawn(9, 9)}, randomize=True)
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
    assert list(analyze(tables | {"a.weight": drawn(9, 9)})["longname"]) == ["a"]  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no weight matrix"):
        analyze(tables)  # type: ignore[arg-type]
    stored = {name: tensor for name, tensor in tables.items() if isinstance(tensor, Tensor)}
    save_file(stored | {"a.weight": drawn(9, 9)}, tmp_path / "model.safetensors")
    assert list(analyze(tmp_path)["longname"]) == ["a"]


# --- what cannot -----------------------------------------------------------------------------------


def test_nothing_is_there(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "gone")
    assert "no safetensors file" in refusal(tmp_path)
    (tmp_path / "model.safetensors").mkdir()
    assert "no safetensors file" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 8, 40, 300, -1])
def test_a_truncated_file_is_not_read(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file(state(), path)
    path.write_bytes(path.read_bytes()[:kept])
    assert "could not be read as safetensors" in refusal(path)
    archive = tmp_path / "model.pt"
    torch.save(state(), archive)
    archive.write_bytes(archive.read_bytes()[:kept])
    assert "bare pickle" in refusal(archive) or "damaged" in refusal(archive)


@pytest.mark.parametrize(("suffix", "stem"), [("safetensors", "model"), ("bin", "pytorch_model")])
@pytest.mark.parametrize("indexed", [True, False])
def test_half_the_shards_are_not_a_model(tmp_path: Path, suffix: str, stem: str, indexed: bool) -> None:
    folder = sharded(tmp_path, suffix, stem)
    for shard in sorted(folder.glob(f"*.{suffix}"))[2:]:
        shard.unlink()
    if not indexed:
        (folder / f"{stem}.{suffix}.index.json").unlink()
    said = refusal(folder)
    assert "Restore" in said
    assert "2 are" in said
    assert "4 files" in said


def test_a_shard_without_its_tensor_is_not_a_model(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    save_file({"other.weight": drawn(3, 3)}, folder / "model-00002-of-00004.safetensors")
    assert f"lack {NAMES[1]}" in refusal(folder)


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"a.weight": "../model.safetensors"}},
        {"weight_map": {"a.weight": "/etc/passwd"}},
        {"weight_map": {"a.weight": 5}},
        {"weight_map": {}},
        {"weight_map": ["a"]},
        ["a"],
        {},
    ],
)
def test_an_index_names_files_of_its_own_folder(tmp_path: Path, index: Any) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "of its own folder" in refusal(inner)
    (inner / "model.safetensors.index.json").write_text("{")
    assert refusal(inner)


def test_one_tensor_in_two_files_is_not_guessed_at(tmp_path: Path) -> None:
    torch.save(state(2), tmp_path / "epoch-1.pt")
    torch.save(state(3), tmp_path / "epoch-2.pt")
    said = refusal(tmp_path)
    assert "epoch-1.pt" in said
    assert "epoch-2.pt" in said
    assert len(layer_spectra_of(tmp_path / "epoch-2.pt")) == 3


RAN: list[str] = []


class Hostile:
    """Runs code of its own choice when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return RAN.append, ("code was run",)


@pytest.fixture
def nothing_runs() -> Iterator[None]:
    RAN.clear()
    yield
    assert not RAN


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".bin", ".pth", ".ckpt", ".safetensors", ""])
def test_a_bare_pickle_is_not_opened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps({"a.weight": Hostile()}))
    assert "pickle" in refusal(path) or "could not be read as safetensors" in refusal(path)
    legacy = tmp_path / f"legacy{suffix}"
    torch.save({"a.weight": drawn(3, 3)}, legacy, _use_new_zipfile_serialization=False)
    assert refusal(legacy)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "content",
    [
        {"a.weight": drawn(9, 9), "other": Hostile()},
        Hostile(),
        {"state_dict": {"a.weight": Hostile()}},
        torch.nn.Linear(3, 3),
        [drawn(9, 9)],
        {"state_dict": {"inner": {"a.weight": drawn(9, 9)}}},
        {"model": {"a.weight": drawn(9, 9)}},
        {},
        7,
    ],
    ids=["beside", "alone", "inside", "module", "list", "twice nested", "other key", "empty", "number"],
)
def test_an_archive_of_anything_else_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    said = refusal(path)
    assert "save_file" in said
    assert "weights_only" not in said, "the way around the refusal is nobody's remedy"


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_other_zip_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Hostile()))
        archive.writestr("archive/version", "3")
    assert "damaged" in refusal(path)


@pytest.mark.usefixtures("nothing_runs")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Any bytes changed anywhere: either tensors come out, or one sentence."""
    path = tmp_path / data.draw(st.sampled_from(["model.safetensors", "model.pt"]))
    save_file(state(1), path) if path.suffix == ".safetensors" else torch.save(state(1), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 900) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        found = layer_spectra_of(path)
        assert all(layer.finite or layer.spectrum.alpha is None for layer in found)


@pytest.mark.parametrize("entry", ["data/0", "data/3", "data.pkl"])
def test_a_flipped_bit_in_an_archive_is_no_number(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "model.pt"
    torch.save(state(), path)
    with zipfile.ZipFile(path) as archive:
        (stored,) = (one for one in archive.namelist() if one.endswith(f"/{entry}"))
        inside = archive.read(stored)
    content = bytearray(path.read_bytes())
    content[content.index(inside) + len(inside) // 2] ^= 1
    path.write_bytes(content)
    said = refusal(path)
    assert f"damaged ({stored} is not what its checksum was made of). Restore it" in said


def test_an_archive_that_would_unfold_is_not_unfolded(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "plain.pt")
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "is compressed, as torch.save never does" in refusal(path)


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
        analyze({"a.weight": drawn(9, 9)}, {"a.weight": torch.ones(9, 9, dtype=torch.int8)})


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
    base = {name: drawn(*shape) for name, shape in other.items()}
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
    one = {stored: drawn(20, 12)}
    both = one | {"lm_head.weight": one[stored]}
    vectors = {"norm.weight": drawn(9), "norm.bias": drawn(9)}
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
