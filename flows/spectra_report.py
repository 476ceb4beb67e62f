"""What ``relearn spectra`` says of a model, an adapter or a difference of two: layers and checks."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.errors import InputError, quoted
from data.param_stages import GateParams
from data.params import load_params
from data.spectral_records import LayerSpectrum
from data.workspace import PROJECT_ROOT, Workspace
from models.calibration import spoken
from models.spectra import flat, layer_spectra
from models.spectral_checks import CANNOT, layer_checks
from models.spectrum import Analysis
from models.weights import is_adapter
from tasks.spectra_page import SpectraInput

Step = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Question:
    """What is asked of which weights."""

    path: Path
    """A model's or adapter's folder, a safetensors file, or a PyTorch archive."""
    base: Path | None
    how: Analysis
    threads: int


def analysed(asked: Question, step: Step) -> tuple[LayerSpectrum, ...]:
    """The layers, one after the other, on so many threads.

    Raises:
        InputError: nothing there that can be read, it does not fit the base, or there is no such device.
    """
    if asked.how.intruders and asked.base is None:
        raise InputError("--intruders compares with a base, and none is named. Add --base FOLDER.")
    _require_device(asked.how)
    before = torch.get_num_threads()
    torch.set_num_threads(asked.threads)
    try:
        return tuple(layer_spectra(_place(asked.path), asked.base, asked.how, step))
    finally:
        torch.set_num_threads(before)


def _place(path: Path) -> Path:
    """An adapter's own folder where its file is named: the factors alone would be taken for weights."""
    return path.parent if path.name == "adapter_model.safetensors" and is_adapter(path.parent) else path


def _require_device(how: Analysis) -> None:
    try:
        torch.zeros(1, dtype=how.dtype, device=how.device)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"The device {how.device!r} cannot compute in {_named(how)} here ({quoted(error)}) "
            "Take --device cpu, or --dtype float32."
        ) from error


def thresholds(root: Path) -> GateParams:
    """The workspace's gate policy where there is a workspace, and the project's where there is none."""
    own = Workspace(root.resolve()).params_file
    return load_params(own if own.is_file() else PROJECT_ROOT / "params.yaml").gates


def content(layers: Sequence[LayerSpectrum], policy: GateParams) -> dict[str, Any]:
    """The one JSON object: numbers that are finite, or null."""
    checks = layer_checks(layers, policy)
    return {
        "layers": [{key: _finite(value) for key, value in flat(layer).items()} for layer in layers],
        "checks": [check.model_dump(mode="json", exclude={"schema_"}) for check in checks],
        "calibration": spoken(None),
        "note": CANNOT,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(said: dict[str, Any]) -> str:
    """The layers as a table of comma-separated values; a column that only some layers have is empty in the others."""
    columns = list(dict.fromkeys(key for line in said["layers"] for key in line))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in line.items()} for line in said["layers"])
    return stream.getvalue()


def _harmless(value: Any) -> Any:
    """A name that a spreadsheet would take for a formula gets a quote before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def page(asked: Question, layers: Sequence[LayerSpectrum], policy: GateParams) -> SpectraInput:
    """What the HTML page shows."""
    return SpectraInput(
        path=str(asked.path),
        base=str(asked.base) if asked.base is not None else "",
        how=f"computed in {_named(asked.how)} with seed {asked.how.seed}",
        layers=tuple(layers),
        thresholds=policy,
    )


def _named(how: Analysis) -> str:
    return str(how.dtype).removeprefix("torch.")
