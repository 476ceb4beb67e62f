"""What ``relearn spectra`` prints for people: a line per layer, then a line per check."""

from collections.abc import Sequence
from itertools import takewhile

from rich.table import Table
from rich.text import Text

from data.evaluation_records import Check, Outcome
from data.files import shortened
from data.param_stages import GateParams
from data.spectral_records import Calibration, LayerSpectrum, Spectrum
from flows.terminal import new_table, plain
from models.spectral_checks import layer_checks
from models.spectral_verdict import adapter_checks

_STYLE = {Outcome.PASS: "green", Outcome.WARN: "yellow", Outcome.FAIL: "red", Outcome.INSUFFICIENT: "dim"}


def said_tables(
    layers: Sequence[LayerSpectrum], policy: GateParams, calibration: Calibration | None
) -> tuple[Table, Table]:
    """The layers, and the checks over all of them."""
    return _layers(layers, policy, calibration), _checks(adapter_checks(layers, policy, calibration))


def _layers(layers: Sequence[LayerSpectrum], policy: GateParams, calibration: Calibration | None) -> Table:
    """One line per layer; names without what all of them begin with."""
    compared = any(layer.update is not None for layer in layers)
    shared = _shared([layer.name for layer in layers])
    found = new_table(headed=True)
    found.add_column(plain(f"Layer ({shortened(shared)}…)" if shared else "Layer"), ratio=1, overflow="fold")
    for name in ("N x M", "rank", "alpha [95 %]", "tail", "stable"):
        found.add_column(name, justify="right", no_wrap=True)
    for name in ("bf16", "size") if compared else ():
        found.add_column(name, justify="right", no_wrap=True)
    marks = _marks(layer_checks(layers, policy, calibration))
    for layer in layers:
        own = layer.spectrum
        cells: list[str] = [
            f"{layer.N} x {layer.M}",
            str(layer.rank),
            _alpha(own),
            _count(own),
            f"{own.stable_rank:.1f}",
        ]
        if compared:
            update = layer.update
            cells += [f"{update.survives_bf16:.0%}", f"{update.sigma_ratio:.2g}"] if update is not None else ["", ""]
        named = plain(shortened(layer.name.removeprefix(shared)))
        if layer.name in marks:
            named.append(f"\n{marks[layer.name]}", style="red")
        found.add_row(named, *cells)
    return found


def _alpha(found: Spectrum) -> str:
    if found.alpha is None or found.alpha_low is None or found.alpha_high is None:
        return found.status.value.replace("_", " ")
    return f"{found.alpha:.2f} [{found.alpha_low:.1f}, {found.alpha_high:.1f}]"


def _count(found: Spectrum) -> str:
    return "" if found.num_pl_spikes is None else str(found.num_pl_spikes)


def _marks(checks: Sequence[Check]) -> dict[str, str]:
    """Deciding checks that fail, by layer."""
    marks: dict[str, str] = {}
    for check in checks:
        if check.decides and check.outcome is Outcome.FAIL:
            marks[check.layer] = f"{marks[check.layer]}, {check.check}" if check.layer in marks else f"! {check.check}"
    return marks


def _shared(names: Sequence[str]) -> str:
    """What all names begin with, up to a dot."""
    parts = [name.split(".")[:-1] for name in names]
    alike = list(takewhile(lambda ones: len(set(ones)) == 1, zip(*parts, strict=False))) if len(names) > 1 else []
    return "".join(f"{ones[0]}." for ones in alike)


def _checks(checks: Sequence[Check]) -> Table:
    found = new_table(headed=True)
    for name in ("Check", "Outcome", "Decides"):
        found.add_column(name, no_wrap=True)
    found.add_column("Why", ratio=1, overflow="fold")
    for check in checks:
        outcome = Text(check.outcome.value, style=_STYLE[check.outcome])
        found.add_row(check.check, outcome, "yes" if check.decides else "no", plain(check.reason))
    return found
