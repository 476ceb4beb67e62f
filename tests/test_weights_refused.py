"""Files that hold no weights, or not all of them, or something that would run: one sentence each."""

import contextlib
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from data.errors import InputError
from tests.matrices import single
from tests.weight_files import NAMES, layer_spectra_of, refusal, sharded, state


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
    save_file({"other.weight": single(3, 3)}, folder / "model-00002-of-00004.safetensors")
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
    torch.save({"a.weight": single(3, 3)}, legacy, _use_new_zipfile_serialization=False)
    assert refusal(legacy)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "content",
    [
        {"a.weight": single(9, 9), "other": Hostile()},
        Hostile(),
        {"state_dict": {"a.weight": Hostile()}},
        torch.nn.Linear(3, 3),
        [single(9, 9)],
        {"state_dict": {"inner": {"a.weight": single(9, 9)}}},
        {"model": {"a.weight": single(9, 9)}},
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
