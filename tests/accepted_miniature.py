"""A registry with accepted adapters, in miniature: real versions in a real MLflow, of which only the spectra differ."""

import math
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from data.evaluation_records import Verdict
from data.files import digest_text, read_record, write_json, write_record
from data.records import Standing
from data.report_records import SynthesisReport
from data.spectral_records import LayerSpectrum, SpectralReport
from data.workspace import STAGES, Workspace
from tasks import registry
from tests.registry_miniature import base_digest, make_candidate, run_stages
from tests.spectral_miniature import layer

MODULES = ("model.layers.0.up_proj", "model.layers.0.down_proj")
USUAL = 1.3
"""What the updates' largest singular value usually is, in units of the noise edge."""


def layers(day: str, sigma_ratio: float = USUAL) -> tuple[LayerSpectrum, ...]:
    """Of one adapter: each module a little larger or smaller than usual, the same on the same day."""
    chance = random.Random(day)
    return tuple(
        layer(name, sigma_ratio=sigma_ratio * math.exp(chance.gauss(0.0, 0.05)), survives_bf16=0.94) for name in MODULES
    )


def write_spectra(workspace: Workspace, found: Iterable[LayerSpectrum]) -> SpectralReport:
    """The spectral report of the adapter that lies in the workspace."""
    file = workspace.spectral / "report.json"
    report = read_record(file, SpectralReport).model_copy(update={"layers": tuple(found)})
    write_record(file, report)
    return report


def accept(workspace: Workspace, weights: Path, days: Iterable[str], verdict: Verdict = Verdict.PROMOTE) -> list[int]:
    """Register one version per day; the model of those that pass, which nobody loads, is not logged again."""
    versions = []
    for day in days:
        made = make_candidate(workspace, weights, day, verdict)
        write_spectra(workspace, layers(day))
        with pytest.MonkeyPatch.context() as patch:
            if verdict is Verdict.PROMOTE:
                patch.setattr("tasks.registry.log_pyfunc", lambda _, __, run, *rest: (run.info.artifact_uri, None))
            versions.append(registry.register_candidate(workspace, made))
    return versions


def stand(workspace: Workspace, weights: Path, day: str, sigma_ratio: float = USUAL) -> SpectralReport:
    """Let the stages of a day have run, with all that a verdict needs and only the spectra in question."""
    run_stages(workspace, weights, day)
    synthesis = read_record(workspace.synthetic / "report.json", SynthesisReport)
    facts = {standing: int(standing in (Standing.NEW, Standing.HELD)) for standing in Standing}
    known = synthesis.model_copy(update={"facts": facts, "new_statements": 0})
    write_record(workspace.synthetic / "report.json", known)
    write_json(workspace.base_digest, {"digest": base_digest(workspace)})
    for stage in STAGES:
        write_json(workspace.code(stage), {"digest": digest_text(stage)})
    return write_spectra(workspace, layers(day, sigma_ratio))
