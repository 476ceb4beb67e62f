"""The evidence counts what it says it counts: areas, sides, seeds and what was held out."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from bench import evidence, grokking
from bench.bases_used import BASES
from bench.evidence import SET_RANKS, area, areas, calibrated, figures, held_out, lengths, roc_area
from bench.evidence_picture import draw
from bench.evidence_tables import table
from bench.failure_kinds import Kind
from bench.failures import Plan, jobs
from bench.measured import typed
from bench.spectral_statistics import Measured
from data.spectral_records import SpectralReport
from flows.cli import app
from models.calibration import MIN_ADAPTERS
from tests.spectral_miniature import layer


def member(
    kind: Kind, value: float, *, variant: str = "", base: str = "tiny", rank: int = 4, seed: int = 1
) -> Measured:
    return Measured(
        code="c", kind=kind, variant=variant, base=base, rank=rank, seed=seed, steps=100,
        values={"size": value},
        report=SpectralReport(
            adapter="a", base=base, layers=(layer(rank=rank, declared_rank=rank, sigma_ratio=value),)
        ),
    )  # fmt: skip


def library(gap: float) -> list[Measured]:
    """Four ranks by six seeds of good adapters about 1 and random ones ``gap`` away."""
    draw = random.Random(5)
    return [
        member(kind, 1.0 + shift + draw.random() / 10, rank=rank, seed=seed)
        for kind, shift in ((Kind.GOOD, 0.0), (Kind.RANDOM, gap))
        for rank in (*SET_RANKS, 4, 16)
        for seed in range(6)
    ]


def test_area_is_the_share_of_pairs() -> None:
    assert roc_area([1, 2, 3], [4, 5]) == 1.0
    assert roc_area([4, 5], [1, 2, 3]) == 0.0
    assert roc_area([1, 2], [1, 2]) == 0.5
    assert roc_area([1, 3], [2]) == 0.5


@pytest.mark.parametrize("gap", [1.0, -1.0])
def test_a_statistic_that_separates_has_an_area_of_one_on_whichever_side(gap: float) -> None:
    (found,) = areas(library(gap))
    assert (found.name, found.value, found.low, found.high) == ("area/tiny, other ranks/random/size", 1.0, 1.0, 1.0)
    assert (found.n, found.seeds) == (12, (0, 1, 2, 3, 4, 5))


def test_a_statistic_that_does_not_separate_has_one_half_in_its_interval() -> None:
    (found,) = areas(library(0.0))
    assert found.low < 0.5 < found.high


def test_the_side_is_set_by_other_adapters_than_those_judged() -> None:
    """Where the other ranks lie the other way round, the area is that of a wrong guess."""
    turned = [
        one if one.rank in SET_RANKS else member(one.kind, 9.0 - one.values["size"], rank=one.rank, seed=one.seed)
        for one in library(1.0)
    ]
    (found,) = areas(turned)
    assert found.value == 0.0
    assert all(one.rank not in SET_RANKS for one in held_out(turned)["tiny, other ranks"])


def test_the_interval_is_drawn_over_seeds_not_members() -> None:
    """Ten copies of one seed say no more than one."""
    few = [member(Kind.GOOD, 1.0 + seed / 10, seed=seed) for seed in range(4)]
    few += [member(Kind.RANDOM, 1.15 + seed / 10, seed=seed) for seed in range(4)]
    once, tenfold = (area(few * copies, "size", Kind.RANDOM, "", 1) for copies in (1, 10))
    assert once is not None
    assert tenfold is not None
    assert once[:3] == pytest.approx(tenfold[:3])


def test_adapters_of_one_seed_are_not_compared() -> None:
    """Each failed one is larger than the good one that it was made of, and no larger than those of other seeds."""
    draw = random.Random(3)
    good = [member(Kind.GOOD, draw.random(), seed=seed) for seed in range(30)]
    made = [member(Kind.RANDOM, one.values["size"] + 1e-6, seed=one.seed) for one in good]
    found = area([*good, *made], "size", Kind.RANDOM, "", 1)
    assert found is not None
    value, low, high, *_ = found
    assert value == pytest.approx(0.5)
    assert low <= value <= high
    assert area([good[0], made[0]], "size", Kind.RANDOM, "", 1) is None


def test_adapters_of_different_ranks_are_not_compared() -> None:
    """Values that grow with the rank would tell kinds apart of which one has more of the high ranks."""
    draw = random.Random(4)
    good = [member(Kind.GOOD, rank + draw.random(), rank=rank, seed=seed) for rank in (4, 16) for seed in range(20)]
    high = [member(Kind.RANDOM, 16 + draw.random(), rank=16, seed=seed) for seed in range(20)]
    found = area([*good, *high], "size", Kind.RANDOM, "", 1)
    assert found is not None
    assert found[0] == pytest.approx(0.5, abs=0.2), "three quarters, if all were compared"


def test_length_is_compared_among_good_adapters_and_noise_with_those_of_its_length() -> None:
    chosen = [member(Kind.GOOD, 1.0, variant="half", seed=seed) for seed in range(3)]
    chosen += [member(Kind.GOOD, 2.0, variant="double", seed=seed) for seed in range(3)]
    chosen += [member(Kind.GOOD, 9.0, seed=seed) for seed in range(3)]
    chosen += [member(Kind.TOO_LONG, 0.0, seed=seed) for seed in range(3)]
    chosen += [member(Kind.LABEL_NOISE, 2.0, seed=seed) for seed in range(3)]
    found = {one.name: (one.value, one.n) for one in lengths(chosen)}
    assert found == {
        "length/tiny: twice the steps against half/size": (1.0, 3),
        "length/tiny: label noise against as many steps/size": (0.5, 3),
    }


def test_checks_are_counted_by_kind_and_calibration_by_leaving_one_out() -> None:
    counted = {one.name: one for one in figures(library(20.0))}
    assert counted["fails/tiny, other ranks/good/exploded"].value == 0.0
    assert counted["fails/tiny, other ranks/random/exploded"].value == 1.0
    assert counted["warns/tiny, other ranks/random/exploded"].value == 1.0
    assert counted["fails/tiny, other ranks/random/any that decides"].value == 1.0
    assert counted["fails/tiny, other ranks/good/any that decides"].value == 0.0
    enough = [member(Kind.GOOD, 1.0 + seed / 100, seed=seed) for seed in range(MIN_ADAPTERS - 1)]
    assert list(calibrated(enough)) == []
    (found,) = calibrated([*enough, member(Kind.GOOD, 1e6, seed=99)])
    assert (found.value, found.n) == (1 / MIN_ADAPTERS, MIN_ADAPTERS)


def test_a_norm_is_held_against_adapters_that_have_no_part_in_it() -> None:
    good = [member(Kind.GOOD, 1.0 + seed / 100, seed=seed) for seed in range(MIN_ADAPTERS)]
    larger = [member(Kind.RANDOM, 9.0, seed=seed) for seed in range(3)]
    usual = [member(Kind.LABEL_NOISE, 1.1, seed=seed) for seed in range(3)]
    merged = [_merged(seed) for seed in range(3)]
    shares = {one.name: (one.value, one.n) for one in calibrated([*good, *larger, *usual, *merged])}
    assert shares["calibrated/tiny r4/good/left out"] == (0.0, MIN_ADAPTERS)
    assert shares["calibrated/tiny r4/random/exploded"] == (1.0, 3)
    assert shares["calibrated/tiny r4/label_noise/exploded"] == (0.0, 3)
    assert not any("merged" in name for name in shares)


def _merged(seed: int) -> Measured:
    """A difference has no rank of its own: as many eigenvalues as its smaller side."""
    one = member(Kind.MERGED_TWICE, 9.0, seed=seed)
    whole = layer(rank=64, kind="delta", sigma_ratio=9.0)
    return one.model_copy(update={"report": one.report.model_copy(update={"layers": (whole,)})})


def test_the_library_has_enough_good_adapters_of_one_rank_for_a_calibration() -> None:
    base, plan = BASES["tiny"](), Plan()
    made = [job for seed in range(1, plan.norm_seeds + 1) for job in jobs(base, plan, seed)]
    good = Counter(job.recipe.rank for job in made if job.kind is Kind.GOOD and not job.variant)
    assert good[plan.norm_rank] >= MIN_ADAPTERS
    assert len({job.folder for job in made}) == len(made)


def test_the_table_shows_every_figure() -> None:
    found = figures(library(1.0))
    text = "\n".join(table(found))
    assert "**1.00 [1.00, 1.00]**" in text
    assert all(part in text for part in ("random (12)", "size", "exploded", "tiny, other ranks"))


def test_the_map_has_a_panel_for_every_set(tmp_path: Path) -> None:
    other = [member(kind, 1.0, base="minilm", seed=seed) for kind in (Kind.GOOD, Kind.RANDOM) for seed in (1, 2)]
    draw(list(areas(library(1.0))), tmp_path / "one.png")
    draw(list(areas([*library(1.0), *other])), tmp_path / "two.png")
    one, two = (Image.open(tmp_path / name).size for name in ("one.png", "two.png"))
    assert two[1] == pytest.approx(2 * one[1], abs=2)


def test_figures_name_the_command_that_was_run() -> None:
    quick = typed("relearn bench spectra", base="tiny", quick=True)
    assert quick == "relearn bench spectra --base tiny --quick"
    assert typed("relearn bench spectra", base=None, quick=False) == "relearn bench spectra"
    assert typed("python -m x", seeds=[1, 2], out="a b") == "python -m x --seeds 1 2 --out 'a b'"
    assert {one.command for one in figures(library(1.0), quick)} == {quick}


def test_the_bench_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evidence, "collect", lambda *_: library(1.0))
    done = CliRunner().invoke(app, ["bench", "spectra", "--base", "tiny", "--workspace", str(tmp_path), "--json"])
    assert {one["command"] for one in json.loads(done.stdout)["figures"]} == {"relearn bench spectra --base tiny"}
    calls: list[tuple[object, ...]] = []

    def called(*given: object) -> list[object]:
        calls.append(given)
        return []

    monkeypatch.setattr(grokking, "figures", called)
    CliRunner().invoke(app, ["bench", "grokking", "--task", "modular", "--steps", "64", "--workspace", str(tmp_path)])
    assert [call[-1] for call in calls] == ["relearn bench grokking --task modular --steps 64"]
