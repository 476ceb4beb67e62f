"""The page of ``relearn spectra``: what the weights of a model, an adapter or a difference of two look like.

It says what the section about weights of a version's report says, in the same style, for anything that lies on a disk.
"""

from pathlib import Path

from data.evaluation_records import Outcome
from data.files import write_text
from data.param_stages import GateParams
from data.records import Record
from data.spectral_records import Calibration, LayerSpectrum
from models.calibration import TOO_FEW
from models.spectral_verdict import adapter_checks
from tasks.pages import environment
from tasks.report_views import by_severity
from tasks.spectral_views import weights_view


class SpectraInput(Record):
    """All that the page shows."""

    path: str
    """What was analysed."""
    base: str = ""
    """What it was compared with; empty: nothing."""
    how: str
    """How it was computed, in words."""
    beside: str = ""
    """What nothing is said of, in one sentence; empty: there is no such thing."""
    layers: tuple[LayerSpectrum, ...]
    thresholds: GateParams
    calibration: Calibration | None = None
    """Of accepted adapters of the same base and rank; None: the default thresholds hold."""
    uncalibrated: str = TOO_FEW
    """Why there is none."""


def render_spectra(page: SpectraInput) -> str:
    """The page as one self-contained HTML document; equal input gives equal bytes."""
    checks = adapter_checks(page.layers, page.thresholds, page.calibration)
    deciding = by_severity([check for check in checks if check.decides])
    return (
        environment()
        .get_template("spectra.html.j2")
        .render(
            page=page,
            checks=deciding,
            shadow_checks=by_severity([check for check in checks if not check.decides]),
            failing=[check.check for check in deciding if check.outcome is Outcome.FAIL],
            warning=[check.check for check in deciding if check.outcome is Outcome.WARN],
            weights=weights_view(page.layers, page.thresholds, page.calibration, page.uncalibrated),
        )
    )


def write_spectra(path: Path, page: SpectraInput) -> Path:
    """Write the page to ``path`` atomically and return ``path``.

    Raises:
        OutsideError: the disk refused it; an older page stays as it was.
    """
    write_text(path, render_spectra(page))
    return path
