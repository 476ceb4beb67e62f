"""Stage ``audit``: the spectra of the adapter's update and of its base, layer by layer.

What it computes follows from the layers' sizes alone, and with how many threads from them and ``train.threads``: the
same input gives the same bits.
"""

from pathlib import Path

from data.files import building, read_json, write_json, write_record
from data.spectral_records import SpectralReport
from data.workspace import Workspace
from flows.base_spectra import BaseSpectra, kept_file
from models.device import threads
from models.spectra import Step, adapter_report, smaller_sides
from models.spectrum import Analysis

SMALL = 1024
"""Smaller side up to which a layer's eigenvectors cost less than a second. Such layers are worked on by one thread:
more of them wait for one another longer than they work, beside other load for a minute instead of a second."""


def audit(workspace: Workspace, report: Step = lambda done, of, name: None) -> SpectralReport:
    """Inspect the adapter without any data.

    Raises:
        InputError: no adapter there, or it does not fit the base.
    """
    digest = read_json(workspace.base_digest)["digest"]
    is_small = max(smaller_sides(workspace.adapter)) <= SMALL
    how = Analysis(determinant=True, randomize=is_small, intruders=is_small)
    number = 1 if is_small else workspace.params().train.threads
    known = BaseSpectra(kept_file(workspace, how, number))
    with threads(number):
        spectra = adapter_report(
            workspace.adapter, Path(workspace.base()), base_digest=digest, how=how, step=report, below=known
        )
    known.save()
    with building(workspace.spectral) as draft:
        write_record(draft / "report.json", spectra)
    write_json(workspace.metrics("audit"), _metrics(spectra))
    return spectra


def _metrics(report: SpectralReport) -> dict[str, float | int]:
    layers = report.layers
    updates = [layer.update for layer in layers if layer.update is not None]
    return {
        "layers": len(layers),
        "finite": sum(layer.finite for layer in layers),
        "largest_sigma_ratio": max((update.sigma_ratio for update in updates), default=0.0),
        "smallest_survives_bf16": min((update.survives_bf16 for update in updates), default=0.0),
    }
