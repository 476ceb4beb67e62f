"""What accepted adapters look like: the spectral reports of the versions that a gate or a person agreed to.

MLflow keeps each report with its version's run. One that was fetched stays in the workspace, so that the next cycle
asks for new ones only; and nothing is fetched before there are enough of one base to say what is usual.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.evaluation_records import Verdict
from data.files import read_cached, write_bytes
from data.spectral_records import SpectralReport
from data.workspace import Workspace
from models.calibration import MIN_ADAPTERS
from tasks import ledger, registry
from tasks.places import ledger_uri
from tasks.registry import VersionInfo
from tasks.tracking import fetched

SPECTRAL_ARTIFACT = "spectral/report.json"
"""Where a candidate's run keeps its spectral report."""
NEWEST = 100
"""So many accepted adapters count: what was usual long ago says little of documents that have grown since."""


@dataclass(frozen=True)
class Accepted:
    """The spectra of accepted adapters."""

    reports: tuple[SpectralReport, ...] = ()
    """Oldest first."""
    unread: tuple[int, ...] = ()
    """Versions whose report is gone, or was written by an older release: they do not count."""


def accepted_spectra(workspace: Workspace, base: str, but: str) -> Accepted:
    """Spectral reports of accepted versions; none where there are too few for a norm.

    Args:
        workspace: whose registry and ledger say what was accepted.
        base: digest of the base that they adapt.
        but: digest of an adapter that does not count: the candidate's, which may have been accepted before.

    Raises:
        OutsideError: MLflow or the ledger is out of reach.
        PersonNeededError: the ledger was tampered with.
    """
    chosen = [info for info in counted(workspace, registry.get_versions(workspace), base) if _adapter(info) != but]
    if len(chosen) < MIN_ADAPTERS:
        return Accepted()
    found = [(info.version, _report(workspace, info)) for info in chosen]
    return Accepted(
        reports=tuple(report for _, report in found if report is not None),
        unread=tuple(version for version, report in found if report is None),
    )


def counted(workspace: Workspace, every: Sequence[VersionInfo], base: str) -> list[VersionInfo]:
    """The newest accepted versions of a base, oldest first; an adapter that was registered twice counts once."""
    state = ledger.state(ledger_uri(workspace))
    accepted = {
        _adapter(info): info
        for info in every
        if info.kind == "candidate"
        and info.tags.get("base") == base
        and (info.verdict is Verdict.PROMOTE or info.version in state.served)
    }
    return sorted(accepted.values(), key=lambda info: info.version)[-NEWEST:]


def _adapter(info: VersionInfo) -> str:
    return info.tags.get("adapter", "")


def _report(workspace: Workspace, info: VersionInfo) -> SpectralReport | None:
    """The report of a version, fetched unless it is here; None: there is none that can be read."""
    file = workspace.spectra_file(info.version)
    known = _kept(file, info)
    if known is not None or _is_older(file, info):
        return known
    with fetched(workspace, info.run, SPECTRAL_ARTIFACT) as copy:
        if copy is None:
            return None
        write_bytes(file, copy.read_bytes())
    return _kept(file, info)


def _kept(file: Path, info: VersionInfo) -> SpectralReport | None:
    report = read_cached(file, SpectralReport)
    return report if report is not None and report.adapter == _adapter(info) else None


def _is_older(file: Path, info: VersionInfo) -> bool:
    """Whether this is the version's own report in an older form, so that fetching it again would change nothing."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    told = (content.get("adapter"), content.get("schema")) if isinstance(content, dict) else (None, None)
    return told[0] == _adapter(info) and told[1] != SpectralReport.model_fields["schema_"].default
