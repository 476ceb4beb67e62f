"""What keeps a model from forgetting besides replay: the base's own predictions, a smaller update; and history told."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from bench.anchoring import Anchored, anchored, anchored_loss
from bench.forgetting_arms import arm
from bench.forgetting_learner import Learner
from bench.forgetting_plans import PLANS, Size
from bench.forgetting_run import rows_of_day
from bench.forgetting_world import Unit, World
from data.errors import InputError
from data.records import Row
from flows.train import batches_of, schedule
from models.adapters import new_lora
from models.base import load_base
from models.likelihood import divergence, divergences, mean_per_token
from models.loss import labelled_loss
from tests.forgetting_miniature import BASE, PARAMS, rows_on_a_day, shipped_world

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def known() -> World:
    return shipped_world()


@pytest.fixture(scope="module")
def taught_and_kept(known: World) -> tuple[list[Row], list[Row]]:
    """Rows on what changes, and on what is held to the base."""
    rows, _ = rows_on_a_day("default,replay=0.2", known)
    kept = [row for row in rows if row.replayed]
    return [row for row in rows if row not in kept], kept


def _moved(learner: Learner, texts: tuple[str, ...]) -> float:
    base = learner.untaught()
    return mean_per_token(divergences(learner.model, learner.tokenizer, texts[:40], PARAMS.train.window, base))


# --- KL to the base ----------------------------------------------------------------------------------


def _batch(taught_and_kept: tuple[list[Row], list[Row]]) -> Anchored:
    model, tokenizer = load_base(BASE)
    plan = schedule(PARAMS.train, 1, "cpu")
    streams = [batches_of(rows, model, tokenizer, PARAMS.train, plan)[1] for rows in taught_and_kept]
    return next(anchored(*streams))


def test_an_untaught_model_pays_for_what_is_taught_alone(taught_and_kept: tuple[list[Row], list[Row]]) -> None:
    model, batch = new_lora(load_base(BASE)[0], 4, 8, 0.0, 1), _batch(taught_and_kept)

    assert anchored_loss(5.0, None)(model, batch, CPU).item() == pytest.approx(labelled_loss(model, batch, CPU).item())


def test_a_model_that_moved_pays_for_its_divergence_and_its_base_is_left_alone(
    taught_and_kept: tuple[list[Row], list[Row]],
) -> None:
    base, batch = load_base(BASE)[0], _batch(taught_and_kept)
    model = new_lora(load_base(BASE)[0], 4, 8, 0.0, 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    beside, inside = (anchored_loss(5.0, one)(model, batch, CPU) for one in (base, None))
    slopes = []
    for loss in (beside, inside):
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        slopes.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    apart = divergence(model, batch.anchor).mean()

    assert inside.item() == pytest.approx(beside.item(), rel=1e-4)
    assert inside.item() == pytest.approx((labelled_loss(model, batch, CPU) + 5 * apart).item(), rel=1e-4)
    assert apart.item() > 0.01
    assert all(parameter.grad is None for parameter in base.parameters())
    assert slopes[0].keys() == slopes[1].keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(torch.allclose(slopes[0][name], slopes[1][name], rtol=1e-2, atol=1e-5) for name in slopes[0])
    assert batch.tokens > batch.anchor.tokens > 0


def test_a_batch_without_an_anchor_is_refused(taught_and_kept: tuple[list[Row], list[Row]]) -> None:
    with pytest.raises(TypeError, match="without an anchor"):
        anchored_loss(1.0, None)(load_base(BASE)[0], _batch(taught_and_kept).anchor, CPU)


def test_who_is_held_to_the_base_moves_less_and_pays_in_tokens(known: World, tmp_path: Path) -> None:
    moved, tokens = {}, {}
    for name in ("asked,steps=20", "default,replay=0.2,kl=3,steps=20"):
        learner = Learner(BASE, arm(name), PARAMS, 1)
        cost = learner.learn(1, rows_on_a_day(name, known)[0], tmp_path / name)
        moved[name], tokens[name] = _moved(learner, known.texts), cost.tokens
    freely, held = moved

    assert moved[held] < 0.5 * moved[freely]
    assert tokens[held] == pytest.approx(2 * tokens[freely], rel=0.1)


def test_without_a_replayed_row_nothing_holds_the_model_and_that_is_said(known: World, tmp_path: Path) -> None:
    name = "default,replay=0.2,kl=1,steps=10"
    rows = [row for row in rows_on_a_day(name, known)[0] if not row.replayed]
    with pytest.raises(InputError, match="no row is replayed"):
        Learner(BASE, arm(name), PARAMS, 1).learn(1, rows, tmp_path)


# --- a smaller update --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["asked,steps=10", "full,replay=0,steps=10"])
def test_shrinking_scales_all_that_the_model_differs_from_the_base_by(name: str, known: World, tmp_path: Path) -> None:
    rows, base = rows_on_a_day(name, known)[0], load_base(BASE)[0]
    whole, half = (Learner(BASE, arm(text), PARAMS, 1) for text in (name, f"{name},shrink=0.5"))
    for learner in (whole, half):
        learner.learn(1, rows, tmp_path / learner.arm.name)
    layer = "model.layers.0.self_attn.q_proj.weight"
    updates = [_weight(learner, layer) - base.state_dict()[layer] for learner in (whole, half)]

    assert updates[0].abs().max() > 1e-4
    torch.testing.assert_close(updates[1], updates[0] / 2, rtol=1e-3, atol=1e-6)


def _weight(learner: Learner, layer: str) -> torch.Tensor:
    """As it takes part in the arithmetic: with the update in it."""
    merged = learner.model.get_base_model() if isinstance(learner.model, PeftModel) else learner.model
    if isinstance(learner.model, PeftModel):
        learner.model.merge_adapter()
        layer = layer.replace("weight", "base_layer.weight")
    found: torch.Tensor = merged.state_dict()[layer]
    return found


# --- history -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ended"), [("joint", [6, 6, 6]), ("default", [6, 2, 0])])
def test_what_held_before_is_told_where_the_arm_says_so(known: World, name: str, ended: list[int]) -> None:
    """On the first day two facts are replaced, two withdrawn, and two replaced that are put back on the second."""
    plan, size = PLANS["flips"], Size(days=3, entities=1, questions=4, flips=2)
    stream = plan.make(known.book, 1, size)
    units = [Unit(plan, size, arm(f"{name},replay=0.1{more}"), 1) for more in ("", ",history=true")]
    found = []
    for day in (1, 2, 3):
        plain, told = (rows_of_day(known, unit, stream, day) for unit in units)
        assert told[: len(plain)] == plain
        assert {row.purpose for row in told[len(plain) :]} <= {"history"}
        found.append(len({row.fact for row in told[len(plain) :]}))

    assert found == ended
