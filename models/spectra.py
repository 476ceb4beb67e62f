"""Spectral report of an adapter, a model, or the difference of two: each layer's eigenvalues in numbers.

One layer is in memory at a time. Equal input gives equal bits, on one machine with one number of threads.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from data.errors import InputError
from data.files import digest_tree
from data.spectral_records import LayerSpectrum, SpectralReport, SpectrumStatus
from models.adapter_updates import AdaptedLayer, absent_layers, adapted_layers
from models.eigenvalues import Difference, LowRank, is_stack, kind_of, rounding_edge
from models.layer_spectra import Below, update_spectrum, weight_spectrum
from models.spectrum import DEFAULT, Analysis
from models.tensors import Held, Tensors, read_weight, shared_name, weight_name
from models.weights import adapter_file, blocks, is_adapter, opened

if TYPE_CHECKING:
    import pandas as pd

_POSITIONS = ("position_ids", "attn.bias", "attn.masked_bias")
"""Ends of the names of tensors that are tables of the architecture and were never trained."""

Source = str | Path | torch.nn.Module | Mapping[str, Tensor]
"""A model: its folder or file, a module, or a state dict."""
Step = Callable[[int, int, str], None]
"""Called before each layer: how many are done, how many there are, its name."""


def _silent(done: int, total: int, name: str) -> None:
    """Tell nobody."""


def adapter_report(
    adapter_dir: Path,
    base_dir: Path,
    *,
    base_digest: str | None = None,
    how: Analysis = DEFAULT,
    step: Step = _silent,
    below: Below = weight_spectrum,
) -> SpectralReport:
    """Spectral report of a PEFT adapter on its base, both folders of safetensors files.

    ``base_digest`` spares digesting the base's folder where its digest is known already, and ``below`` decomposing
    its layers where their spectra are (models.layer_spectra.update_spectrum). Numbers that are not finite never fail
    the report: such a layer has ``finite=False`` and 0.0 or None in their place.

    Raises:
        InputError: a file is missing or unreadable, the adapter is of a kind that cannot be read, or a factor does
            not fit its base weight.
    """
    return SpectralReport(
        adapter=digest_tree(adapter_dir),
        base=digest_tree(base_dir) if base_digest is None else base_digest,
        layers=tuple(layer_spectra(adapter_dir, base_dir, how, step, below)),
    )


def smaller_sides(adapter_dir: Path) -> list[int]:
    """The smaller side of each layer that a PEFT adapter changes: what its spectra cost grows with the cube of it.

    Raises:
        InputError: as ``adapter_report``.
    """
    with opened(adapter_file(adapter_dir)) as tensors:
        return [min(layer.matrix.shape[:2]) for layer in adapted_layers(adapter_dir, tensors)]


def layer_spectra(
    model: Source,
    base: Source | None = None,
    how: Analysis = DEFAULT,
    step: Step = _silent,
    base_spectrum: Below = weight_spectrum,
) -> Iterator[LayerSpectrum]:
    """The layers of an adapter, of a model, or of its difference from ``base``.

    Raises:
        InputError: nothing there that can be read, or it does not fit the base.
    """
    if how.intruders and base is None:
        raise InputError("Intruders are directions that a base does not know, and none is named. Name it (--base).")
    with contextlib.ExitStack() as stack:
        below = stack.enter_context(_opened(base)) if base is not None else None
        if isinstance(model, str | Path) and is_adapter(Path(model)):
            tensors = stack.enter_context(opened(adapter_file(Path(model))))
            whole = [*adapted_layers(Path(model), tensors)]
            whole += absent_layers(Path(model), whole, below, _blocks(base)) if below is not None else []
            yield from _of_adapter(whole, below, _named(base), how, step, base_spectrum)
        else:
            yield from _of_model(stack.enter_context(_opened(model)), below, _named(model), how, step)


def _opened(source: Source) -> contextlib.AbstractContextManager[Tensors]:
    if isinstance(source, str | Path):
        return opened(Path(source))
    tensors = source.state_dict() if isinstance(source, torch.nn.Module) else source
    if not isinstance(tensors, Mapping):
        raise InputError(f"A {type(source).__name__} is no model. Give a folder, a file, a module or a state dict.")
    return contextlib.nullcontext(Held(tensors))


def _blocks(source: Source | None) -> int | None:
    return blocks(Path(source)) if isinstance(source, str | Path) else None


def _named(source: Source | None) -> str:
    """What errors call it."""
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _of_adapter(
    layers: Sequence[AdaptedLayer], base: Tensors | None, named: str, how: Analysis, step: Step, below: Below
) -> Iterator[LayerSpectrum]:
    turned = base is not None and any(_only_turned(layer, base, named) for layer in layers)
    for done, layer in enumerate(layers):
        step(done, len(layers), layer.name)
        yield _of_layer(replace(layer, transposed=layer.transposed or turned), base, named, how, below)


def _only_turned(layer: AdaptedLayer, base: Tensors, named: str) -> bool:
    """Whether the factors fit a weight that is stored as (in, out), and only such, though nothing says it is.

    Of an adapter of both kinds of layers PEFT's configuration says what holds for the last of them.
    """
    if layer.kind != "lora" or layer.transposed:
        return False
    shape = base.shape(weight_name(layer.name, base, named))
    return shape == layer.matrix.shape[::-1] != shape[::-1]


def _of_layer(layer: AdaptedLayer, base: Tensors | None, named: str, how: Analysis, below: Below) -> LayerSpectrum:
    matrix = layer.matrix
    if base is None and layer.kind == "delta" and isinstance(matrix, Tensor):  # what was trained whole, no update
        return weight_spectrum(layer.name, matrix, how, kind_of(f"{layer.name}.weight", tuple(matrix.shape)) or "delta")
    if base is None or layer.kind == "prefix" or (layer.kind == "memory" and not layer.rows):
        return update_spectrum(layer.name, matrix, None, how, kind=layer.kind, declared_rank=layer.declared_rank)
    weight = read_weight(weight_name(layer.name, base, named), base, named)
    if isinstance(matrix, LowRank):
        weight = _facing(layer, matrix, weight.flatten(1), named)
        rank = layer.declared_rank
        return update_spectrum(layer.name, matrix, weight, how, kind=layer.kind, declared_rank=rank, below=below)
    if layer.kind == "memory":
        weight = _chosen_rows(layer, weight, named)
    return _difference(layer.name, matrix, weight, named, how, layer.kind)


def _facing(layer: AdaptedLayer, update: LowRank, weight: Tensor, named: str) -> Tensor:
    """The weight as (out, in); its shape says how it is stored, and where it is square, the configuration does."""
    out, into = update.shape
    turned = layer.transposed if out == into else tuple(weight.shape) == (into, out)
    found = weight.T if turned else weight
    if tuple(found.shape) != (out, into):
        raise InputError(
            f"The factors of {layer.name} are A {tuple(update.A.shape)} and B {tuple(update.B.shape)}; for its weight "
            f"{tuple(weight.shape)} in {named} they must be (r, in) and (out, r). Give the base that it was trained on."
        )
    return found


def _chosen_rows(layer: AdaptedLayer, weight: Tensor, named: str) -> Tensor:
    """The rows of the base in whose place the trained ones stand."""
    if len(layer.rows) != layer.matrix.shape[0] or not all(0 <= row < weight.shape[0] for row in layer.rows):
        raise InputError(
            f"{layer.name} has {layer.matrix.shape[0]} trained rows for the tokens {list(layer.rows)}, of "
            f"{weight.shape[0]} in {named}. Give the base that it was trained on."
        )
    return weight[list(layer.rows)]


def _of_model(tensors: Tensors, base: Tensors | None, named: str, how: Analysis, step: Step) -> Iterator[LayerSpectrum]:
    if any(".lora_" in name for name in tensors.names()):
        raise InputError(f"{named} holds an adapter's factors. Name the adapter's folder, with adapter_config.json.")
    chosen = {name: _kind(name, tensors) for name in tensors.names() if base is None or name in base}
    counts = {name: _count(name, tensors) for name, kind in chosen.items() if kind is not None}
    if not counts:
        other = " that the base has, too" if base is not None else ""
        raise InputError(f"{named} has no weight matrix{other}. Name a model's folder, and its own base.")
    done, total = 0, sum(counts.values())
    for name, count in counts.items():
        weight, kind = read_weight(name, tensors, named), chosen[name] or ""
        below = read_weight(name, base, f"the base of {named}") if base is not None else None
        for place in range(count):
            stacked = is_stack(name, tuple(weight.shape))
            layer = name.removesuffix(".weight") + (f"[{place}]" if stacked else "")
            step(done, total, layer)
            if below is None:
                yield weight_spectrum(layer, weight[place] if stacked else weight, how, kind)
            else:
                yield _difference(layer, weight, below, named, how, place=place if stacked else None)
            done += 1


def left_out(model: Source, base: Source | None) -> str:
    """One sentence about matrices that only one of a checkpoint and its base has, so that nothing is said of them.

    Empty where both have the same, and of an adapter.

    Raises:
        InputError: as ``layer_spectra``.
    """
    if base is None or (isinstance(model, str | Path) and is_adapter(Path(model))):
        return ""
    with _opened(model) as tensors, _opened(base) as below:
        sides = {"checkpoint": (_lacking(tensors, below), tensors), "base": (_lacking(below, tensors), below)}
        found = [
            f"{len(own)} of the {len(_weights(there))} matrices of the {side}, {own[0]} for one"
            for side, (own, there) in sides.items()
            if own
        ]
    return f"Left out, as the other lacks them: {'; '.join(found)}." if found else ""


def _weights(tensors: Tensors) -> list[str]:
    return [name for name in tensors.names() if _kind(name, tensors) is not None]


def _lacking(tensors: Tensors, others: Tensors) -> list[str]:
    """The matrices of a model that another has not; of two that share one weight the other's is enough."""
    return [name for name in _weights(tensors) if name not in others and shared_name(name, others) is None]


def _count(name: str, tensors: Tensors) -> int:
    """How many matrices a tensor holds that are analysed one by one."""
    shape = tensors.shape(name)
    return shape[0] if is_stack(name, shape) else 1


def _kind(name: str, tensors: Tensors) -> str | None:
    """What a tensor is; None where it has no spectrum, or was never trained."""
    if name.endswith(_POSITIONS) or tensors.is_table(name):
        return None
    return kind_of(name, tensors.shape(name))


def _difference(
    name: str, weight: Tensor, base: Tensor, named: str, how: Analysis, kind: str = "delta", place: int | None = None
) -> LayerSpectrum:
    """The update that made ``weight`` of ``base``, of a stack that of the matrix at ``place``."""
    if weight.shape != base.shape:
        raise InputError(
            f"{name} is {tuple(weight.shape)} in {named} and {tuple(base.shape)} in its base. Give the base that it "
            "was trained from."
        )
    new, old = ((tensor if place is None else tensor[place]).flatten(1) for tensor in (weight, base))
    rounding = rounding_edge(new) + rounding_edge(old)  # both may have been rounded, each by itself
    return update_spectrum(name, Difference(new, old), old, how, kind=kind, rounding=rounding)


def analyze(
    model: Source,
    base: Source | None = None,
    *,
    randomize: bool = False,
    detX: bool = False,
    intruders: bool = False,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    seed: int = 0,
) -> "pd.DataFrame":
    """Spectral statistics as a frame, one line per layer, under WeightWatcher's names where the meaning is the same.

        from models.spectra import analyze
        analyze("data/bases/tiny")[["longname", "alpha", "alpha_low", "alpha_high"]]

    Args:
        model: folder or file, a module, or a state dict.
        base: what ``model`` adapts or was trained from, given in any of these ways.
        randomize: look for correlation traps.
        detX: look for the determinant condition.
        intruders: look for directions that the base does not know.
        dtype: of Gram matrices and eigenvalues, float64 or float32.
        device: where they are computed.
        seed: of the random places.

    Warns:
        UserWarning: of matrices that only one of model and base has (``left_out``).

    Raises:
        InputError: nothing there that can be read, or it does not fit the base.
    """
    import pandas as pd

    layers = list(layer_spectra(model, base, Analysis(randomize, detX, intruders, dtype, device, seed)))
    beside = left_out(model, base)
    if beside:
        warnings.warn(beside, stacklevel=2)
    return pd.DataFrame([{"layer_id": place, **flat(layer)} for place, layer in enumerate(layers)])


_UNKNOWN = {
    SpectrumStatus.NOT_FINITE: (
        *("num_evals", "norm", "spectral_norm", "smallest", "stable_rank", "effective_rank", "entropy"),
        *("matrix_rank", "noise_edge"),
    ),
    SpectrumStatus.NOISE: ("effective_rank", "entropy"),
}
"""What cannot be said of a spectrum, by its status."""


def flat(layer: LayerSpectrum) -> dict[str, Any]:
    """One layer as a line of a table: WeightWatcher's column names where the meaning is the same."""
    found = layer.spectrum
    own = found.model_dump(mode="json", exclude={"schema_", "histogram", "randomised", "determinant"})
    line = {
        "name": layer.name,
        "longname": layer.name,
        "kind": layer.kind,
        "N": layer.N,
        "M": layer.M,
        "Q": layer.N / layer.M if layer.M else None,
        "rank": layer.rank,
        "finite": layer.finite,
        **own,
        "log_norm": math.log10(found.norm) if found.norm > 0 else None,
        "log_spectral_norm": math.log10(found.spectral_norm) if found.spectral_norm > 0 else None,
        "alpha_weighted": found.alpha * math.log10(found.spectral_norm) if found.alpha is not None else None,
        "null_share": layer.null_share,
        "base_alpha": layer.base.alpha if layer.base else None,
    }
    unknown = _UNKNOWN.get(found.status, ())
    line |= dict.fromkeys(unknown)
    for part in (found.randomised, found.determinant, layer.update):
        line |= part.model_dump(mode="json", exclude={"schema_"}) if part is not None else {}
    return line
