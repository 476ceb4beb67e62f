"""``relearn spectra`` reads whatever holds weights, prints one thing, and says in a sentence what it cannot read."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.workspace import PROJECT_ROOT
from flows.progress import Lines
from models.spectral_checks import CANNOT, SHAPE, SOUNDNESS
from tests.html_page import Page
from tests.programs import relearn
from tests.weight_folders import TINY, UP, adapter, called, gaussian, model, outcomes, said

COLUMNS = {
    *("name", "kind", "N", "M", "rank", "alpha", "xmin", "D", "sigma", "num_pl_spikes", "stable_rank"),
    *("spectral_norm", "alpha_low", "alpha_high", "status"),
}
"""What scripts rely on in every layer."""

NO_CYCLE = "No cycle has run here (--workspace), so no accepted adapters say what is usual."


def fresh(folder: Path) -> Path:
    """A workspace in which nothing has happened yet."""
    folder.mkdir()
    shutil.copy(PROJECT_ROOT / "params.yaml", folder)
    return folder


# --- what it prints --------------------------------------------------------------------------------


def test_json_is_one_object_with_the_promised_keys(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    content = said(adapter(tmp_path / "adapter"), "--base", base, "--workspace", fresh(tmp_path / "fresh"))
    assert set(content) == {"layers", "checks", "whole", "calibration", "why_uncalibrated", "note"}
    assert (content["calibration"], content["note"]) == ("uncalibrated", CANNOT)
    assert content["why_uncalibrated"] == NO_CYCLE
    assert len(content["layers"]) == 2
    assert all(set(layer) >= COLUMNS for layer in content["layers"])
    assert {check["check"] for check in content["checks"]} == {*SOUNDNESS, *SHAPE}
    assert len(content["checks"]) == 2 * len({*SOUNDNESS, *SHAPE})
    assert all(set(check) == {"check", "layer", "outcome", "reason", "decides"} for check in content["checks"])
    assert {check["check"] for check in content["checks"] if check["decides"]} == {*SOUNDNESS, "unstructured"}


def test_columns_that_were_asked_for_are_there(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    assert "rand_num_spikes" not in said(base)["layers"][0]
    full = said(base, "--randomize", "--determinant")["layers"][0]
    assert full["rand_num_spikes"] == 0, "independent entries have no traps"
    assert full["detX_num"] > 0
    found = said(adapter(tmp_path / "adapter"), "--base", base, "--intruders")
    assert "insufficient" not in outcomes(found, "intruders")


def test_csv_json_and_frame_say_the_same(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    done = called(base, "--csv")
    assert done.exit_code == 0
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    layers = said(base)["layers"]
    assert [float(line["alpha"]) for line in lines] == [layer["alpha"] for layer in layers]
    from models.spectra import analyze

    assert list(analyze(base)["alpha"]) == [layer["alpha"] for layer in layers]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", " =", "＝"])
def test_a_name_is_no_formula_in_a_spreadsheet(tmp_path: Path, sign: str) -> None:
    save_file({f"{sign}HYPERLINK(1).weight": gaussian(20, 20)}, tmp_path / "m.safetensors")
    done = called(tmp_path / "m.safetensors", "--csv")
    assert next(csv.DictReader(io.StringIO(done.stdout)))["name"] == f"'{sign}HYPERLINK(1)"


UNSTEADY = (
    "evil\u202egnp.exe",
    "\u2066isolated",
    "red\x1b[31m",
    "steer\x9b31m",
    "two\nlines",
    "tag\U000e0041",
    "日本語",
)
"""Names that turn letters around, steer a terminal or break lines; the last is a name as it should be."""


def test_names_turn_nothing_around_in_any_output(tmp_path: Path) -> None:
    file, page = tmp_path / "m.safetensors", tmp_path / "page.html"
    save_file({f"{name}.weight": gaussian(20, 20) for name in UNSTEADY}, file)
    assert {layer["name"] for layer in said(file)["layers"]} == set(UNSTEADY), "JSON keeps them, escaped"
    outputs = [called(file, *options).stdout for options in ((), ("--json",), ("--csv",), ("--html", page))]
    for output in (*outputs, page.read_text()):
        assert all(line.isprintable() for line in output.split("\n")), output
    assert "evil\\u202egnp.exe" in page.read_text()
    assert all("日本語" in output for output in (*outputs[:3], page.read_text()))


def test_endless_names_are_shortened_and_stand_in_whole_where_they_are_pointed_at(tmp_path: Path) -> None:
    file, page = tmp_path / "m.safetensors", tmp_path / "page.html"
    name = "x" * 5000
    save_file({f"{name}.weight": gaussian(20, 20), "b.weight": gaussian(20, 20)}, file)
    table = called(file).stdout.splitlines()
    assert max(map(len, table[:-1])) <= 80
    assert len(table) < 40, "a name of 5,000 letters is no page of its own"
    called(file, "--html", page)
    shown = Page(page.read_text())
    assert name not in shown.text().replace(f"{name}: ", "").replace(f"{name} (", ""), "but in what is pointed at"
    assert ("code", {"title": name}) in shown.elements


def test_people_get_tables_of_80_columns_that_end_with_what_cannot_be_said(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    place = fresh(tmp_path / "fresh")
    done = called(adapter(tmp_path / "adapter", lora_alpha=9000), "--base", base, "--workspace", place)
    assert done.exit_code == 0, "it could report"
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines[:-1])
    assert "! exploded" in done.stdout
    assert lines[-1] == f"Thresholds: uncalibrated. {NO_CYCLE} {CANNOT}"
    assert "alpha [95 %]" in done.stdout


def test_the_bar_is_on_standard_error_and_the_result_alone_on_standard_output() -> None:
    done = relearn("spectra", str(TINY), "--json")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert len(json.loads(done.stdout)["layers"]) == 29
    lines = done.stderr.splitlines()
    assert lines[-1].split() == ["spectra", "#" * 20, "29/29", "layers"]
    assert all(line.startswith("spectra ") for line in lines), "nothing else is printed"


def test_the_bar_grows_and_fits_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("spectra")
    lines.terminal = True
    for done in range(5):
        lines.analysed(done, 4, "x" * 200)
    shown = capsys.readouterr().err.replace("\x1b[K", "").replace("\r", "\n").split("\n")
    shown = [line for line in shown if line]
    assert [line.count("#") for line in shown] == [0, 5, 10, 15, 20]
    assert max(map(len, shown)) <= 80


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    base, one = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    arguments = (one, "--base", base, "--randomize", "--json")
    assert called(*arguments).stdout == called(*arguments).stdout
    pages = [tmp_path / f"{place}.html" for place in "ab"]
    for page in pages:
        done = called(one, "--base", base, "--html", page)
        assert done.stdout == f"{page}\n"
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert said(one, "--base", base, "--html", pages[0])["html"] == str(pages[0])


def test_single_precision_is_close_and_the_threads_are_given_back(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    before = torch.get_num_threads()
    double, single = said(base)["layers"], said(base, "--dtype", "float32", "--threads", "2")["layers"]
    assert torch.get_num_threads() == before
    for one, other in zip(double, single, strict=True):
        assert other["spectral_norm"] == pytest.approx(one["spectral_norm"], rel=1e-5)
        assert other["num_pl_spikes"] == one["num_pl_spikes"]


# --- thresholds ------------------------------------------------------------------------------------


def test_the_workspaces_thresholds_hold_where_there_is_one(tmp_path: Path) -> None:
    base, one = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    default = said(one, "--base", base)
    assert set(outcomes(default, "exploded")) == {"pass"}
    (tmp_path / "empty").mkdir()
    assert called(one, "--workspace", tmp_path / "empty").exit_code != 0, "a slip must not judge by another policy"
    strict = tmp_path / "strict"
    strict.mkdir()
    text = (PROJECT_ROOT / "params.yaml").read_text()
    text = text.replace("max_sigma_ratio: 10.0", "max_sigma_ratio: 0.002")
    text = text.replace("warn_sigma_ratio: 4.0", "warn_sigma_ratio: 0.001")
    text = text.replace("unstructured: enforce", "unstructured: shadow").replace("alpha: shadow", "alpha: enforce")
    (strict / "params.yaml").write_text(text)
    found = said(one, "--base", base, "--workspace", strict)
    assert set(outcomes(found, "exploded")) == {"fail"}
    assert {check["decides"] for check in found["checks"] if check["check"] == "unstructured"} == {False}
    assert {check["decides"] for check in found["checks"] if check["check"] == "alpha"} == {True}
    (strict / "params.yaml").write_text("gates: nonsense")
    assert called(one, "--workspace", strict).exit_code != 0


def test_it_says_why_nothing_is_calibrated(tmp_path: Path) -> None:
    base, one, place = model(tmp_path / "base"), adapter(tmp_path / "adapter"), fresh(tmp_path / "fresh")
    assert "beside its base" in said(base, "--workspace", place)["why_uncalibrated"]
    assert "beside its base" in said(one, "--workspace", place)["why_uncalibrated"]
    (place / "data" / "inputs").mkdir(parents=True)
    (place / "data" / "inputs" / "base.json").write_text(json.dumps({"digest": "other"}))
    page = tmp_path / "page.html"
    found = said(one, "--base", base, "--workspace", place, "--html", page)
    assert "another than that of the workspace's last cycle" in found["why_uncalibrated"]
    assert "another than that of the workspace" in Page(page.read_text()).text()


# --- what it reads ---------------------------------------------------------------------------------


def test_it_reads_shards_files_archives_and_adapters(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    expected = [layer["alpha"] for layer in said(base)["layers"]]
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    for number, (name, weight) in enumerate(weights.items()):
        save_file({name: weight}, sharded / f"model-{number}.safetensors")
    homes = {name: f"model-{place}.safetensors" for place, name in enumerate(weights)}
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    torch.save({"state_dict": weights}, tmp_path / "model.pt")
    for place in (base / "model.safetensors", sharded, tmp_path / "model.pt"):
        assert [layer["alpha"] for layer in said(place)["layers"]] == expected
    folder = adapter(tmp_path / "adapter")
    assert said(folder / "adapter_model.safetensors")["layers"] == said(folder)["layers"], "its file means the adapter"


def test_a_difference_of_two_checkpoints_is_an_update(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    (tmp_path / "tuned").mkdir()
    tuned = {name: weight + gaussian(*weight.shape, seed=5) for name, weight in weights.items()}
    save_file(tuned, tmp_path / "tuned" / "model.safetensors")
    content = said(tmp_path / "tuned", "--base", base)
    assert {layer["kind"] for layer in content["layers"]} == {"delta"}
    assert set(outcomes(content, "not_learned")) == {"pass"}
    assert set(outcomes(said(base, "--base", base), "not_learned")) == {"fail"}, "nothing was learned"


def test_a_part_of_a_checkpoint_is_said_to_be_one(tmp_path: Path) -> None:
    base, part = model(tmp_path / "base", blocks=3), model(tmp_path / "part", blocks=1)
    sentence = f"Left out, as the other lacks them: 2 of the 3 matrices of the base, {UP.format(1)}.weight for one."
    assert said(part, "--base", base)["note"] == f"{CANNOT} {sentence}"
    assert called(part, "--base", base).stdout.splitlines()[-1].endswith(sentence)
    done = called(part, "--base", base, "--csv")
    assert sentence in done.stderr
    assert sentence not in done.stdout
    page = tmp_path / "page.html"
    called(part, "--base", base, "--html", page)
    assert sentence in page.read_text()
    assert "Left out" not in called(base, "--base", base).output
