"""Spectral analysis beside WeightWatcher 0.7.7: the same matrices, one process, one thread, in turn.

    python -m bench.spectra --rounds 3

Each round runs every way once, so that a slow minute of the machine hits all; what counts are the ratios within a
round, given as median [least, most]. Time is that of the processor in this process, of which one thread works, so that
other programs count little. WeightWatcher always computes in float64; our float32 stands beside the same run.
Both get an adapter's tensors in memory, and give a frame.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch

from bench import measured
from bench.spectra_inputs import SEVEN_B, lora_factors, trained_like, write_adapter
from bench.spectra_memory import peak_growths
from bench.watcher import linear_model, lora_state, one_thread, package, watch
from data.errors import InputError
from models.eigenvalues import LowRank
from models.layer_spectra import update_spectrum
from models.random_matrix import null_effective_ranks
from models.spectra import analyze, flat, layer_spectra

SEED = 20240601
DENSE = ((768, 768, 4), (3072, 768, 2), (1024, 1024, 2), (2048, 2048, 1))
"""Rows, columns, and how many such layers the model has."""
ADAPTERS = ((768, 8, 30.0), (768, 16, 30.0), (2048, 8, 200.0), (2048, 16, 200.0))
"""Width, rank, and how many times faster we want to be."""
_LEAST_SECONDS = 1.0
"""What is quicker is repeated until it has taken this long, as a neighbour on the same core slows it for a while."""
_SOLVE_SECONDS = 4.0
"""So long the least of single runs is looked for, in at least ``_SOLVES`` of them."""
_SOLVES = 4

Run = Callable[[], object]


@dataclass(frozen=True)
class Figure(measured.Figure):
    """One measured number, the median over the rounds, beside what is wanted of it."""

    seeds: tuple[int, ...] = field(default=(SEED,), kw_only=True)
    command: str = field(default="", kw_only=True)
    target: str
    met: bool


def main() -> None:
    """Print the figures as a Markdown table, or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="the smallest of each kind, without memory")
    options = parser.parse_args()
    try:
        _show(options)
    except InputError as error:
        sys.exit(str(error))


def _show(options: argparse.Namespace) -> None:
    found = []
    if not options.json:
        print("| what | median [least, most] | n | wanted | |\n| --- | --- | --- | --- | --- |", flush=True)
    for figure in figures(options.rounds, options.quick):
        found.append(figure)
        if not options.json:
            print(row(figure), flush=True)
    if options.json:
        print(json.dumps({"figures": [asdict(figure) for figure in found]}))


def row(figure: Figure) -> str:
    """One line of the table."""
    shown = f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
    return f"| {figure.name} | {shown} | {figure.n} | {figure.target} | {'met' if figure.met else 'MISSED'} |"


def figures(rounds: int, quick: bool = False) -> Iterator[Figure]:
    """All of them, one after the other."""
    command = measured.typed("python -m bench.spectra", rounds=rounds, quick=quick)
    for figure in _measured(rounds, quick):
        yield replace(figure, command=command)


def _measured(rounds: int, quick: bool) -> Iterator[Figure]:
    package()  # its linear algebra has threads of its own, which one_thread limits only where it is loaded by then
    with one_thread():
        watch(linear_model(trained_like(120, 100, SEED)), randomize=True, detX=True)  # what it does once, uncounted
        for rows, columns, layers in DENSE[:1] if quick else DENSE:
            yield from dense(rows, columns, layers, rounds)
        for width, rank, wanted in ADAPTERS[:1] if quick else ADAPTERS:
            yield adapter(width, rank, wanted, rounds)
        yield module(rounds)
        if not quick:
            yield from seven_billion(rounds)
    if not quick:
        for name, grown, limit in peak_growths():
            yield Figure(f"peak memory, MiB: {name}", grown, grown, grown, 1, f"<= {limit:.0f}", grown <= limit)


def seconds(run: Run, least: float = _LEAST_SECONDS) -> float:
    """Processor time of one run, the mean of as many as take ``least`` seconds."""
    times, begun = 0, time.process_time()
    while times == 0 or time.process_time() - begun < least:
        run()
        times += 1
    return (time.process_time() - begun) / times


def in_turn(ways: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; ours, which may be quick, runs once before the first, uncounted."""
    for name, run in ways.items():
        if not name.startswith("theirs"):
            run()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            taken[name].append(seconds(run))
    return taken


def dense(rows: int, columns: int, layers: int, rounds: int) -> Iterator[Figure]:
    """A model of weights: default analysis, with all options, and the eigen solve alone."""
    weights = [trained_like(rows, columns, SEED + place) for place in range(layers)]
    model = linear_model(*weights)
    size, single = f"{rows} x {columns}", torch.float32
    taken = in_turn(
        {
            "theirs": lambda: watch(model),
            "fp64": lambda: analyze(model),
            "fp32": lambda: analyze(model, dtype=single),
            "theirs, all": lambda: watch(model, randomize=True, detX=True),
            "fp64, all": lambda: analyze(model, randomize=True, detX=True),
            "fp32, all": lambda: analyze(model, randomize=True, detX=True, dtype=single),
        },
        rounds,
    )
    for kind, dtype, plain, full in (("fp64", torch.float64, 1.7, 6.0), ("fp32", single, 2.8, 9.0)):
        yield times_faster(f"dense {size} {kind}, default", taken["theirs"], taken[kind], plain)
        yield above_solve(f"dense {size} {kind}, over the eigen solve, %", weights, dtype, rounds)
        yield times_faster(
            f"dense {size} {kind}, randomised and determinant", taken["theirs, all"], taken[f"{kind}, all"], full
        )


def solve(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What no analysis can do without: the smaller Gram matrix and its eigenvalues."""
    matrix = weight.to(dtype)
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    values: torch.Tensor = torch.linalg.eigvalsh(gram)
    return values


def adapter(width: int, rank: int, wanted: float, rounds: int) -> Figure:
    """A LoRA adapter of q and v in 12 layers; what random updates look like is simulated before the first round."""
    factors = lora_factors([(width, width)] * 24, rank, SEED)
    state = lora_state(factors)
    taken = in_turn({"theirs": lambda: watch(state, peft=True), "ours": lambda: _frame(factors)}, rounds)
    return times_faster(f"adapter, width {width}, rank {rank}", taken["theirs"], taken["ours"], wanted)


def _frame(factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> pd.DataFrame:
    """Updates in memory to a frame, as WeightWatcher does; the scaling, which it leaves out, is in."""
    layers = (update_spectrum(name, LowRank(A, B, 2.0), None) for name, (A, B) in factors.items())
    return pd.DataFrame([flat(layer) for layer in layers])


def module(rounds: int) -> Figure:
    """One large module, from its factors in memory."""
    ((A, B),) = lora_factors([(11_008, 4_096)], 64, SEED).values()
    taken = in_turn({"ours": lambda: update_spectrum("module", LowRank(A, B, 2.0), None)}, rounds)["ours"]
    return plain("one module 11008 x 4096, rank 64, ms", [1e3 * one for one in taken], 5.0)


def seven_billion(rounds: int) -> Iterator[Figure]:
    """The adapter of a model of 7 billion parameters, from its folder; the first time and again."""
    with tempfile.TemporaryDirectory() as folder:
        place = write_adapter(Path(folder), lora_factors(SEVEN_B, 16, SEED), 16)
        cold: list[float] = []
        warm: list[float] = []
        for _ in range(rounds):
            null_effective_ranks.cache_clear()
            for times in (cold, warm):
                begun = time.perf_counter()
                assert len(list(layer_spectra(place))) == len(SEVEN_B)
                times.append(time.perf_counter() - begun)
    yield plain(f"adapter of a 7B shape, {len(SEVEN_B)} modules, rank 16, wall seconds, first time", cold, 2.0)
    yield plain("the same again", warm, 2.0)


def times_faster(name: str, theirs: list[float], ours: list[float], wanted: float) -> Figure:
    """Their time over ours, round by round."""
    ratios = [one / other for one, other in zip(theirs, ours, strict=True)]
    value = statistics.median(ratios)
    return Figure(
        f"{name}: times faster", value, min(ratios), max(ratios), len(ratios), f">= {wanted:g}", value >= wanted
    )


def above_solve(name: str, weights: Sequence[torch.Tensor], dtype: torch.dtype, rounds: int) -> Figure:
    """Our time over the eigen solve's, less one, in percent: of each the least of single runs in turn, by round."""
    model, shares = linear_model(*weights), []
    for _ in range(rounds):
        ours: list[float] = []
        alone: list[float] = []
        while len(ours) < _SOLVES or sum(ours) < _SOLVE_SECONDS:
            ours.append(seconds(lambda: analyze(model, dtype=dtype), least=0.0))
            alone.append(seconds(lambda: [solve(weight, dtype) for weight in weights], least=0.0))
        shares.append(100 * (min(ours) / min(alone) - 1))
    return plain(name, shares, 8.0)


def plain(name: str, values: list[float], limit: float) -> Figure:
    """A number that shall not pass its limit."""
    value = statistics.median(values)
    return Figure(name, value, min(values), max(values), len(values), f"<= {limit:g}", value <= limit)


if __name__ == "__main__":
    main()
