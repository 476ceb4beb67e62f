"""Pictures of spectra stay inside their frames, take the page's colours, and leave nothing that failed out."""

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from data.params import load_params
from data.spectral_records import Calibration, Histogram, LayerSpectrum
from data.workspace import PROJECT_ROOT
from models.calibration import spoken
from models.powerlaw import fit_power_law
from models.spectral_checks import CANNOT, SHAPE, SOUNDNESS
from tasks import panels
from tasks.density_figure import blocks_left_out, density, density_by_layer, tail_line
from tasks.layer_places import LONGEST, laid_out, short_names, spread
from tasks.panels import Axis, Panel
from tasks.spectra_page import SpectraInput, render_spectra
from tasks.spectral_figures import alpha_by_depth, size_by_depth, structure_by_depth, survival_by_depth
from tasks.spectral_views import MOST_OPEN, weights_view
from tests import report_miniature
from tests.html_page import Page
from tests.report_miniature import layer
from tests.spectral_miniature import spectrum

GATES = load_params(PROJECT_ROOT / "params.yaml").gates
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CALIBRATION = Calibration(base="b", rank=16, adapters=24, false_alarms=1, modules={})


def deep(blocks: int = 32, **broken: float) -> tuple[LayerSpectrum, ...]:
    """A large model; block 17 has a layer with other figures."""
    usual = [layer(block, f"self_attn.{kind}", effective_rank=11.0) for block in range(blocks) for kind in KINDS]
    odd = 17 * len(KINDS) + 2
    if broken:
        usual[odd] = layer(17, f"self_attn.{KINDS[2]}", **broken)
    return tuple(usual)


def alone() -> tuple[LayerSpectrum, ...]:
    """A model without a base: blocks of two stacks, and layers outside of them."""
    stacks = [f"{stack}.layers.{block}" for stack in ("encoder", "decoder") for block in (0, 1)]
    names = [f"{stack}.fc{one}" for stack in stacks for one in (1, 2)]
    plain = [report_miniature.layer(0, "x", base=None, update=None, null_share=None) for _ in names]
    found = [one.model_copy(update={"name": name}) for one, name in zip(plain, names, strict=True)]
    outside = [found[0].model_copy(update={"name": name}) for name in ("embed_tokens", "lm_head", "0")]
    nothing = found[0].model_copy(update={"name": "empty", "spectrum": spectrum(None, histogram=None)})
    return (*found, *outside, nothing)


def endless() -> tuple[LayerSpectrum, ...]:
    """Names of thousands of letters with no place to break, in stacks, blocks and kinds, and outside of them."""
    wide = "W" * 4000
    names = [f"{stack}{wide}.{block}.{kind}{wide}" for stack in "ab" for block in (0, 1) for kind in "cd"]
    names += [f"layers.{'1' * 3000}{block}.up" for block in (0, 1)] + [wide, "x" * 5000, "deep." * 900]
    return tuple(layer.model_copy(update={"name": name}) for layer, name in zip(deep(2), names, strict=False))


MODELS = {
    "adapter": report_miniature.layers(),
    "deep": deep(sigma_ratio=40.0),
    "alone": alone(),
    "endless": endless(),
}


def pictures(layers: tuple[LayerSpectrum, ...]) -> list[Markup]:
    drawn = [
        density_by_layer(layers, {layers[0].name}),
        alpha_by_depth(layers),
        size_by_depth(layers, GATES),
        survival_by_depth(layers, GATES),
        structure_by_depth(layers),
    ]
    return [one for one in drawn if one]


# --- what holds for every picture ------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_pictures_take_the_pages_colours_and_speak(name: str) -> None:
    drawn = pictures(MODELS[name])
    assert len(drawn) == (2 if name == "alone" else 5)
    for svg in drawn:
        root = ElementTree.fromstring(str(svg))
        assert root.attrib["role"] == "img"
        assert re.search(r"\d", root.attrib["aria-label"]), "it says a figure"
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb\(|\bnan\b|\binf\b", str(svg))
        assert "var(--accent)" in svg
        assert "<script" not in svg


@pytest.mark.parametrize("name", MODELS)
def test_equal_layers_give_equal_bytes(name: str) -> None:
    assert pictures(MODELS[name]) == pictures(MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_drawn_outside_the_picture(name: str) -> None:
    for svg in pictures(MODELS[name]):
        root = ElementTree.fromstring(str(svg))
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter("path"):
            if "H22" in element.attrib["d"] or element.attrib["d"] == "M11 -7V7":
                continue  # a legend's sign stands at its own place
            places = re.findall(r"(-?[\d.]+) (-?[\d.]+)", element.attrib["d"])
            for x, y in places:
                assert -3 <= float(x) <= width + 3
                assert -3 <= float(y) <= height
        for element in root.iter("circle"):
            assert 0 <= float(element.attrib["cx"]) <= width


@pytest.mark.parametrize("name", MODELS)
def test_no_text_lies_on_another(name: str) -> None:
    """By the width of an ordinary character of the small print; a browser's eye has the last word."""
    for svg in pictures(MODELS[name]):
        boxes = []
        root = ElementTree.fromstring(str(svg))
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for text in root.iter("text"):
            x, y, said = float(text.attrib["x"]), float(text.attrib["y"]), text.text or ""
            wide = 5.6 * len(said)
            left = x - {"end": wide, "middle": wide / 2}.get(text.attrib.get("text-anchor", ""), 0)
            boxes.append((left, y - 8, left + wide, y, said))
            assert left >= -1
            assert left + wide <= width + 20, said
            assert y <= height
        for one, other in itertools.combinations(boxes, 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one[4], other[4])


# --- where layers stand ----------------------------------------------------------------------------


def test_layers_stand_by_block_and_kind_in_the_order_in_which_a_block_computes() -> None:
    layout = laid_out(tuple(reversed(deep(2))))
    assert layout.kinds == ("q", "k", "v", "o", "gate", "up", "down")
    assert layout.blocks == ("1", "0")
    assert layout.cells["1", "gate"].name == "model.layers.1.self_attn.gate_proj"
    plain = laid_out(alone())
    assert plain.blocks == ("encoder 0", "encoder 1", "decoder 0", "decoder 1")
    assert {name for name, _ in plain.others} >= {"embed_tokens", "lm_head"}
    assert sum(map(len, (plain.cells, plain.others))) == len(alone()), "no layer is lost"


def test_names_are_short_and_still_differ() -> None:
    names = ["attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense", "x" * 90]
    found = short_names(names)
    assert list(found.values())[:4] == ["query", "attention.output", "intermediate", "output"]
    assert len(set(found.values())) == len(names)
    assert max(map(len, found.values())) <= LONGEST
    assert "\x1b" not in short_names(["a.\x1b[2J"])["a.\x1b[2J"]


def test_of_many_blocks_some_are_shown_and_none_that_failed_is_left_out() -> None:
    blocks = [str(block) for block in range(80)]
    shown = spread(blocks, 8, ["41", "3"])
    assert len(shown) == 8
    assert {"0", "3", "41", "79"} <= set(shown)
    assert list(shown) == sorted(shown, key=int)
    assert spread(["0", "1"], 8) == ("0", "1")
    failing = deep(sigma_ratio=40.0)
    name = failing[17 * 7 + 2].name
    assert "block 17" not in density_by_layer(failing)
    assert "block 17" in density_by_layer(failing, {name})
    assert "8 of 32 blocks" in blocks_left_out(failing, {name})
    assert blocks_left_out(deep(4)) == ""


# --- what they say ---------------------------------------------------------------------------------


def test_the_density_is_one_in_all_and_the_line_holds_the_tails_share() -> None:
    draws = (1.0 - np.random.default_rng(7).random(4000)) ** (-1 / 1.8)  # Pareto, alpha 2.8
    counts, edges = np.histogram(np.log10(draws), bins=40)
    histogram = Histogram(low=float(edges[0]), high=float(edges[-1]), counts=tuple(map(int, counts)))
    shape = density(histogram)
    widths = np.diff(np.log10(shape.edges))
    assert float((widths * np.array(shape.values)).sum()) == pytest.approx(1.0)
    fit = fit_power_law(draws)
    assert fit is not None
    (start, begin), (end, last) = tail_line(fit.alpha, fit.xmin, fit.tail, histogram)
    slope = math.log10(last / begin) / math.log10(end / start)
    assert slope == pytest.approx(1.0 - fit.alpha), "on these axes a power law falls with alpha - 1"
    under = begin / ((fit.alpha - 1) * math.log(10)) * (1 - (end / start) ** (1 - fit.alpha))
    assert under == pytest.approx(fit.tail / draws.size, rel=0.01)
    for left, right, value in list(zip(shape.edges[:-1], shape.edges[1:], shape.values, strict=True))[:20]:
        middle = math.sqrt(left * right)
        if middle > start:
            assert value == pytest.approx(begin * (middle / start) ** (1 - fit.alpha), rel=0.35)


def test_few_eigenvalues_are_drawn_in_few_bins() -> None:
    few = Histogram(low=0.0, high=1.0, counts=(1,) * 16)
    assert len(density(few).values) <= 6
    assert len(density(Histogram(low=0.0, high=1.0, counts=(100,) * 40)).values) == 40


def test_intervals_that_leave_the_axis_end_in_a_mark() -> None:
    panel = Panel(0, 0, 100, 100, Axis(0, 1), Axis(1, 10))
    inside, above, both = (panel.interval(0.5, *ends, "x").count("<path") for ends in ((2, 9), (2, 40), (-3, 40)))
    assert (inside, above, both) == (1, 2, 3)
    assert "<circle" in panel.point(0.5, 5, 3, "x")
    assert "<circle" not in panel.point(0.5, 50, 3, "x"), "a point beyond is a triangle at the edge"
    assert panel.line((0.5, 20), (0.6, 30), "x") == ""


@pytest.mark.parametrize(("axis", "most"), [(Axis(1, 10), 5), (Axis(0, 105), 5), (Axis(1e-7, 30, log=True), 3)])
def test_ticks_are_round_and_few(axis: Axis, most: int) -> None:
    ticks = axis.ticks(most)
    assert 2 <= len(ticks) <= most + 1
    assert all(axis.low <= tick <= axis.high for tick in ticks)
    assert panels.power(1e-3) == "1e-3"


def test_a_layer_that_is_too_large_too_small_or_random_has_another_colour() -> None:
    assert panels.FAIL not in "".join(re.findall(r"<circle[^>]*>", size_by_depth(deep(20), GATES)))
    assert panels.FAIL in "".join(re.findall(r"<circle[^>]*>", size_by_depth(deep(20, sigma_ratio=40.0), GATES)))
    assert panels.FAIL in "".join(re.findall(r"<circle[^>]*>", survival_by_depth(deep(20, survives_bf16=0.01), GATES)))
    assert "not told from chance" not in structure_by_depth(deep(20))
    assert "not told from chance" in structure_by_depth(deep(20, effective_rank=15.9))


def test_figures_that_are_not_finite_draw_nothing() -> None:
    broken = layer(0, "q_proj", finite=False, sigma_ratio=math.inf, survives_bf16=math.nan, alpha=None)
    for svg in pictures((broken, layer(1, "q_proj"))):
        assert not re.search(r"\b(nan|inf)\b", svg)


# --- the section and the page ----------------------------------------------------------------------


def test_every_layer_has_its_outcomes_and_those_of_many_that_tell_something_stand_open() -> None:
    few = weights_view(report_miniature.layers(), GATES)
    assert (len(few.open), few.folded) == (30, ())
    assert [column.name for column in few.columns] == [*SOUNDNESS, *SHAPE]
    assert [column.name for column in few.columns if column.decides] == [*SOUNDNESS, "unstructured"]
    many = weights_view(deep(sigma_ratio=40.0), GATES)
    assert [row.layer for row in many.open] == ["model.layers.17.self_attn.v_proj"]
    assert len(many.folded) == 224 > MOST_OPEN
    assert [check.check for check in many.reasons] == ["exploded"]
    assert weights_view(deep(), GATES).open == ()


def page(**changes: object) -> SpectraInput:
    given = {
        "path": "folder",
        "base": "base",
        "how": "in float64",
        "layers": deep(sigma_ratio=40.0),
        "thresholds": GATES,
    }
    return SpectraInput.model_validate(given | changes)


def test_the_page_is_complete_in_itself_and_says_what_it_cannot_say() -> None:
    html = render_spectra(page())
    parsed = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & set(parsed.names())
    assert ("meta", "Content-Security-Policy") in [(name, one.get("http-equiv")) for name, one in parsed.elements]
    assert not re.search(r"https?://|@import|url\(", html)
    text = parsed.text()
    assert CANNOT in text
    assert "uncalibrated" in text
    assert "exploded fails." in text
    assert "Reported, does not decide" in text
    assert "8 of 32 blocks" in text
    assert "No deciding check fails or warns." in Page(render_spectra(page(layers=deep()))).text()
    assert render_spectra(page()) == html


def test_signs_have_words_for_those_who_hear_the_page() -> None:
    cells = re.findall(r'<td class="mark [^>]*>(.*?)</td>', render_spectra(page()))
    assert len(cells) == (224 + 1) * len((*SOUNDNESS, *SHAPE))
    for cell in cells:
        assert re.search(r'aria-hidden="true">[✓!✗?]</span><span class="quiet">(pass|warn|fail|insufficient)<', cell)


@pytest.mark.parametrize("layers", [alone(), report_miniature.layers()[:1], (layer(0, "<script>'\""),)])
def test_whatever_was_analysed_has_a_page(layers: tuple[LayerSpectrum, ...]) -> None:
    html = render_spectra(page(layers=layers, base="", path="<img src=x>"))
    parsed = Page(html)
    assert "<script" not in html
    assert "img" not in parsed.names()
    assert "<img src=x>" in parsed.text()
    ids = [one["id"] for _, one in parsed.elements if one.get("id")]
    assert len(ids) == len(set(ids))


def test_the_calibration_is_said_in_words() -> None:
    assert spoken(None) == "uncalibrated"
    assert spoken(CALIBRATION) == "calibrated on 24 adapters (false alarms 1 of 24 left one out)"
    assert "defaults hold" in spoken(CALIBRATION.model_copy(update={"false_alarms": 9}))
    assert spoken(CALIBRATION) in Page(render_spectra(page(calibration=CALIBRATION))).text()
