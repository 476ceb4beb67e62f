"""Spectral report of an adapter, a model, or the difference of two: each layer's eigenvalues in numbers.

One layer is in memory at a time. Equal input gives equal bits, on one machine with one number of threads.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from data.errors import InputError
from data.files import digest_tree
from data.spectral_records import LayerSpectrum, SpectralReport
from models.adapter_updates import AdaptedLayer, adapted_layers
from models.eigenvalues import LowRank, kind_of, rounding_variance
from models.layer_spectra import update_spectrum, weight_spectrum
from models.spectrum import DEFAULT, Analysis
from models.weights import Held, Tensors, is_adapter, opened, weight_of

if TYPE_CHECKING:
    import pandas as pd

_POSITIONS = ("position_ids", "attn.bias", "attn.masked_bias")
"""Ends of the names of tensors that are tables of the architecture and were never trained."""

Step = Callable[[int, int, str], None]
"""Called before each layer: how many are done, how many there are, its name."""


def _silent(done: int, total: int, name: str) -> None:
    """Tell nobody."""


def adapter_report(
    adapter_dir: Path, base_dir: Path, *, base_digest: str | None = None, how: Analysis = DEFAULT, step: Step = _silent
) -> SpectralReport:
    """Spectral report of a PEFT adapter on its base, both folders of safetensors files.

    ``base_digest`` spares digesting the base's folder where its digest is known already. Numbers that
    are not finite never fail the report: such a layer has ``finite=False`` and 0.0 or None in their place.

    Raises:
        InputError: a file is missing or unreadable, the adapter is of a kind that cannot be read, or a factor does
            not fit its base weight.
    """
    return SpectralReport(
        adapter=digest_tree(adapter_dir),
        base=digest_tree(base_dir) if base_digest is None else base_digest,
        layers=tuple(layer_spectra(adapter_dir, base_dir, how, step)),
    )


def layer_spectra(
    path: Path, base: Path | None = None, how: Analysis = DEFAULT, step: Step = _silent
) -> Iterator[LayerSpectrum]:
    """The layers of whatever lies at ``path``: an adapter, a model, or its difference from the model at ``base``.

    Raises:
        InputError: nothing there that can be read, or it does not fit the base.
    """
    with contextlib.ExitStack() as stack:
        below = stack.enter_context(opened(base)) if base is not None else None
        if is_adapter(path):
            tensors = stack.enter_context(opened(path / "adapter_model.safetensors"))
            yield from _of_adapter(path, tensors, below, str(base), how, step)
        else:
            yield from _of_model(stack.enter_context(opened(path)), below, str(path), how, step)


def _of_adapter(
    folder: Path, tensors: Tensors, base: Tensors | None, named: str, how: Analysis, step: Step
) -> Iterator[LayerSpectrum]:
    layers = list(adapted_layers(folder, tensors))
    for done, layer in enumerate(layers):
        step(done, len(layers), layer.name)
        yield _of_layer(layer, base, named, how)


def _of_layer(layer: AdaptedLayer, base: Tensors | None, named: str, how: Analysis) -> LayerSpectrum:
    weight, matrix, rounding = None, layer.matrix, 0.0
    if base is not None and layer.kind in ("lora", "delta"):
        weight = weight_of(layer.name, base, named).flatten(1)
        weight = weight.T if layer.transposed else weight
        _fits(layer, tuple(weight.shape), named)
        if not isinstance(matrix, LowRank):
            rounding = max(rounding_variance(matrix), rounding_variance(weight))
            matrix = matrix.flatten(1).double() - weight.double()
    return update_spectrum(
        layer.name, matrix, weight, how, kind=layer.kind, declared_rank=layer.declared_rank, rounding=rounding
    )


def _fits(layer: AdaptedLayer, shape: tuple[int, ...], named: str) -> None:
    matrix = layer.matrix
    if tuple(matrix.shape[:2]) == shape or (
        not isinstance(matrix, LowRank) and tuple(matrix.flatten(1).shape) == shape
    ):
        return
    given = f"A {tuple(matrix.A.shape)} and B {tuple(matrix.B.shape)}" if isinstance(matrix, LowRank) else "the weight"
    raise InputError(
        f"The factors of {layer.name} are {given}; for its weight {shape} in {named} they must be (r, in) "
        "and (out, r). Give the base that it was trained on."
    )


def _of_model(tensors: Tensors, base: Tensors | None, named: str, how: Analysis, step: Step) -> Iterator[LayerSpectrum]:
    shaped = [(name, kind_of(name, tensors.shape(name))) for name in tensors.names()]
    chosen = [(name, kind) for name, kind in shaped if kind is not None and not name.endswith(_POSITIONS)]
    if base is not None:
        chosen = [(name, kind) for name, kind in chosen if name in base]
    if not chosen:
        other = " that the base has, too" if base is not None else ""
        raise InputError(f"{named} has no weight matrix{other}. Name a model's folder, and its own base.")
    for done, (name, kind) in enumerate(chosen):
        step(done, len(chosen), name)
        weight, layer = tensors.tensor(name), name.removesuffix(".weight")
        if not weight.is_floating_point():
            raise InputError(f"{name} in {named} is {weight.dtype}, quantised. Give the unquantised model.")
        if base is None:
            yield weight_spectrum(layer, weight, how, kind)
        else:
            yield _difference(layer, weight, base.tensor(name), named, how)


def _difference(name: str, weight: Tensor, base: Tensor, named: str, how: Analysis) -> LayerSpectrum:
    if weight.shape != base.shape or not base.is_floating_point():
        raise InputError(
            f"{name} is {tuple(weight.shape)} in {named} and {tuple(base.shape)} in its base. Give the base that it "
            "was trained from."
        )
    rounding = max(rounding_variance(weight), rounding_variance(base))
    flat, below = weight.flatten(1), base.flatten(1)
    return update_spectrum(name, flat.double() - below.double(), below, how, kind="delta", rounding=rounding)


def analyze(
    model: "str | Path | torch.nn.Module | Mapping[str, Tensor]",
    base: "str | Path | None" = None,
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
        base: folder or file of what ``model`` adapts or was trained from.
        randomize: look for correlation traps.
        detX: look for the determinant condition.
        intruders: look for directions that the base does not know.
        dtype: of Gram matrices and eigenvalues, float64 or float32.
        device: where they are computed.
        seed: of the random places.

    Raises:
        InputError: nothing there that can be read, or it does not fit the base.
    """
    import pandas as pd

    how = Analysis(randomize, detX, intruders, dtype, device, seed)
    if isinstance(model, str | Path):
        layers = list(layer_spectra(Path(model), Path(base) if base is not None else None, how))
    else:
        state = model.state_dict() if isinstance(model, torch.nn.Module) else model
        with contextlib.ExitStack() as stack:
            below = stack.enter_context(opened(Path(base))) if base is not None else None
            layers = list(_of_model(Held(state), below, type(model).__name__, how, _silent))
    return pd.DataFrame([{"layer_id": place, **flat(layer)} for place, layer in enumerate(layers)])


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
        "Q": layer.N / layer.M,
        "rank": layer.rank,
        "finite": layer.finite,
        **own,
        "log_norm": math.log10(found.norm) if found.norm > 0 else None,
        "log_spectral_norm": math.log10(found.spectral_norm) if found.spectral_norm > 0 else None,
        "alpha_weighted": found.alpha * math.log10(found.spectral_norm) if found.alpha is not None else None,
        "null_share": layer.null_share,
        "base_alpha": layer.base.alpha if layer.base else None,
    }
    for part in (found.randomised, found.determinant, layer.update):
        line |= part.model_dump(mode="json", exclude={"schema_"}) if part is not None else {}
    return line
