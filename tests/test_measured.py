"""Figures side by side."""

from bench.measured import Figure, Row, side_by_side, typed


def test_figures_stand_beside_those_of_the_same_name() -> None:
    found = [Figure(name, 0.5, 0.4, 0.6, 10, (1,), "relearn") for name in ("day/a/lost", "day/b/lost", "day/b/kept")]
    lost, also, kept = found

    assert side_by_side(found, ["day/a/", "day/b/"]) == (Row("lost", (lost, also)), Row("kept", (None, kept)))
    assert side_by_side(found, ["night/"]) == ()


def test_a_command_is_told_as_it_was_typed() -> None:
    said = typed("relearn bench x", seed=(0, 1), limit=0, arm=["a b", "c"], quick=True, plan=None, whole=False, left=[])

    assert said == "relearn bench x --seed 0 --seed 1 --limit 0 --arm 'a b' c --quick"
