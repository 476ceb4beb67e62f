"""What ``relearn spectra`` says of a model, an adapter or a difference of two: layers and checks."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError, RelearnError
from data.files import digest_tree, printable, read_value
from data.param_stages import GateParams
from data.params import load_params
from data.spectral_records import Calibration, LayerSpectrum, SpectralReport
from data.workspace import PROJECT_ROOT, Workspace
from models import spectra
from models.calibration import TOO_FEW, calibrate, spoken
from models.device import threads
from models.spectra import Step, flat, layer_spectra
from models.spectral_checks import CANNOT, layer_checks
from models.spectral_verdict import adapter_checks
from models.spectrum import Analysis
from models.weights import is_adapter
from tasks.spectra_page import SpectraInput

FORMULA = tuple("=+-@＝＋－＠")
"""What a formula begins with in a spreadsheet; a Japanese one reads wide signs as narrow ones."""


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
    with threads(asked.threads):
        return tuple(layer_spectra(_place(asked.path), asked.base, asked.how, step))


def left_out(asked: Question) -> str:
    """What a difference says nothing of, in one sentence; empty where it says all."""
    return spectra.left_out(_place(asked.path), asked.base)


def _place(path: Path) -> Path:
    """An adapter's own folder where its file is named: the factors alone would be taken for weights."""
    return path.parent if path.name == "adapter_model.safetensors" and is_adapter(path.parent) else path


def thresholds(root: Path | None) -> GateParams:
    """The gate policy of a workspace; of None that of the current folder where it is one, or the project's.

    Raises:
        InputError: the folder that was named is no workspace.
    """
    own = Workspace((root or Path()).resolve()).params_file
    if root is not None and not own.is_file():
        raise InputError(f"{own} does not exist. Name a workspace, or leave --workspace out.")
    return load_params(own if own.is_file() else PROJECT_ROOT / "params.yaml").gates


@dataclass(frozen=True)
class Norm:
    """What accepted adapters look like, or why nothing says what is usual."""

    calibration: Calibration | None = None
    why_not: str = ""
    """One sentence; empty where there is a calibration."""


def norm(asked: Question, root: Path | None, layers: Sequence[LayerSpectrum], policy: GateParams) -> Norm:
    """The norm of the accepted adapters of the workspace that are like this one."""
    place, workspace = _place(asked.path), Workspace((root or Path()).resolve())
    if asked.base is None or not is_adapter(place):
        return Norm(why_not="Only an adapter beside its base (--base) can be held against accepted ones.")
    if not workspace.base_digest.is_file():
        return Norm(why_not="No cycle has run here (--workspace), so no accepted adapters say what is usual.")
    base = digest_tree(asked.base)
    if base != read_value(workspace.base_digest, "digest", str):
        return Norm(
            why_not="The base is another than that of the workspace's last cycle, so nothing says what is usual."
        )
    from tasks.accepted import accepted_spectra

    own = SpectralReport(adapter=digest_tree(place), base=base, layers=tuple(layers))
    try:
        accepted = accepted_spectra(workspace, base, but=own.adapter)
    except RelearnError as error:  # the spectra are reported all the same
        return Norm(why_not=f"What was accepted could not be read: {error}")
    found = calibrate(accepted.reports, policy.max_robust_z, like=own)
    return Norm(found, "" if found else TOO_FEW)


def refuse_target(page: Path, asked: Question) -> None:
    """Refuse to write a page over anything but a page, before the work is done.

    Raises:
        InputError: something else lies there, or it is among the files that are looked into.
    """
    place = page.resolve()
    sources = [source.resolve() for source in (asked.path, asked.base) if source is not None]
    if any(place == source or source in place.parents for source in sources):
        raise InputError(f"{page} lies among the weights that are looked into. Name another file for the page.")
    if not place.parent.is_dir():
        raise InputError(f"The folder {place.parent} does not exist. Make it, or name another file for the page.")
    if place.exists() and not (place.is_file() and place.read_bytes()[:15].lower() == b"<!doctype html>"):
        raise InputError(f"{page} is there and is no HTML page. Name another file for the page.")


def content(layers: Sequence[LayerSpectrum], policy: GateParams, usual: Norm, beside: str = "") -> dict[str, Any]:
    """The one JSON object: numbers that are finite, or null. ``beside`` is what the note says besides."""
    checks = layer_checks(layers, policy, usual.calibration)
    whole = adapter_checks(layers, policy, usual.calibration)
    return {
        "layers": [{key: _finite(value) for key, value in flat(layer).items()} for layer in layers],
        "checks": [check.model_dump(mode="json", exclude={"schema_"}) for check in checks],
        "whole": [check.model_dump(mode="json", exclude={"schema_"}) for check in whole],
        "calibration": spoken(usual.calibration),
        "why_uncalibrated": usual.why_not,
        "note": f"{CANNOT} {beside}".strip(),
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
    """A name without control characters; one that a spreadsheet would take for a formula gets a quote before it."""
    if not isinstance(value, str):
        return value
    steady = printable(value)
    return f"'{steady}" if steady.lstrip().startswith(FORMULA) else steady


def page(
    asked: Question, layers: Sequence[LayerSpectrum], policy: GateParams, usual: Norm, beside: str = ""
) -> SpectraInput:
    """What the HTML page shows."""
    return SpectraInput(
        path=str(asked.path),
        base=str(asked.base) if asked.base is not None else "",
        how=f"computed in {_named(asked.how)} with seed {asked.how.seed}",
        beside=beside,
        layers=tuple(layers),
        thresholds=policy,
        calibration=usual.calibration,
        uncalibrated=usual.why_not,
    )


def _named(how: Analysis) -> str:
    return str(how.dtype).removeprefix("torch.")
