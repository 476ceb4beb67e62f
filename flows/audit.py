"""Stage ``audit``: the spectra of the adapter's update and of its base, layer by layer."""

from pathlib import Path

from data.files import building, read_json, write_json, write_record
from data.spectral_records import SpectralReport
from data.workspace import Workspace
from models.spectra import adapter_report


def audit(workspace: Workspace) -> SpectralReport:
    """Inspect the adapter without any data.

    Raises:
        InputError: no adapter there, or it does not fit the base.
    """
    digest = read_json(workspace.base_digest)["digest"]
    report = adapter_report(workspace.adapter, Path(workspace.base()), base_digest=digest)
    with building(workspace.spectral) as draft:
        write_record(draft / "report.json", report)
    write_json(workspace.metrics("audit"), _metrics(report))
    return report


def _metrics(report: SpectralReport) -> dict[str, float | int]:
    layers = report.layers
    updates = [layer.update for layer in layers if layer.update is not None]
    return {
        "layers": len(layers),
        "finite": sum(layer.finite for layer in layers),
        "largest_sigma_ratio": max((update.sigma_ratio for update in updates), default=0.0),
        "smallest_survives_bf16": min((update.survives_bf16 for update in updates), default=0.0),
    }
