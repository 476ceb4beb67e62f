"""What is made of the harness's answers, which folders of tasks are taken, and what is said where it is missing."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.harness_figures import Score, compared, figures, scores, table
from bench.harness_folder import require_plain
from data.errors import InputError
from flows.cli import app
from models.statistics import mcnemar, paired_difference, wilson_interval


def test_without_the_extra_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    done = CliRunner().invoke(app, ["bench", "tasks", "--task", "hellaswag"])
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == 2
    assert "lm_eval is not installed" in str(done.exception)
    assert "make harness-setup" in str(done.exception)


# --- folders of tasks --------------------------------------------------------------------------------


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_plain_files_with_plain_includes_are_taken(tmp_path: Path) -> None:
    _write(tmp_path, one="task: one\ninclude: common\n", two="task: two\ninclude: [common, one.yaml]\n")
    (tmp_path / "common").write_text("dataset_path: json\n")
    require_plain(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "task: one\ndoc_to_text: !function utils.text\n",
        "task: one\ndoc_to_text: !!python/name:os.system\n",
        "task: one\ninclude: [plain, tagged]\n",
        "task: one\ninclude: ../outside.yaml\n",
        "task: one\ninclude: absent\n",
        "task: one\ninclude: plain\ninclude: tagged\n",
        "common: &common\n  include: tagged\n<<: *common\ntask: one\n",
        "task: [one\n",
        "task: \x00\n",
    ],
)
def test_files_that_would_run_code_are_refused(tmp_path: Path, text: str) -> None:
    folder = _write(tmp_path / "tasks", good="task: good\n", one=text)
    (folder / "plain").write_text("dataset_path: json\n")
    (folder / "tagged").write_text("process_docs: !function utils.run\n")
    (tmp_path / "outside.yaml").write_text("dataset_path: json\n")
    with pytest.raises(InputError, match=r"tasks/(one\.yaml|tagged) "):
        require_plain(folder)


def test_includes_of_a_link_are_looked_for_where_it_leads(tmp_path: Path) -> None:
    folder = _write(tmp_path / "tasks", good="task: good\n")
    _write(tmp_path / "elsewhere", one="task: one\ninclude: common\n")
    (tmp_path / "elsewhere" / "common").write_text("process_docs: !function utils.run\n")
    (folder / "common").write_text("dataset_path: json\n")
    (folder / "one.yaml").symlink_to(tmp_path / "elsewhere" / "one.yaml")
    with pytest.raises(InputError, match="which is no file of"):
        require_plain(folder)


def test_files_in_another_encoding_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_bytes("task: !function utils.run\n".encode("utf-16"))
    with pytest.raises(InputError, match="is not plain YAML"):
        require_plain(tmp_path)


def test_a_folder_without_tasks_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"holds no \*\.yaml"):
            require_plain(folder)


# --- figures -----------------------------------------------------------------------------------------

BASE_RIGHT = [1.0] * 12 + [0.0] * 8
ADAPTER_RIGHT = [1.0] * 8 + [0.0] * 4 + [1.0] * 6 + [0.0] * 2


def _rows(metric: str, model: str, values: list[Any]) -> list[dict[str, Any]]:
    """In an order that is not that of the questions."""
    rows = [
        {"model": model, "task": "one", "filter": "none", "metric": metric, "number": number, "value": value}
        for number, value in enumerate(values)
    ]
    return rows[::-1] if model == "adapter" else rows


def test_base_and_adapter_are_compared_question_by_question() -> None:
    rows = [*_rows("acc", "base", BASE_RIGHT), *_rows("acc", "adapter", ADAPTER_RIGHT)]
    known, left_out = scores(rows, {"base": {"one": {"acc,none": 0.6}}, "adapter": {"one": {"acc,none": 0.7}}})
    (pair,) = compared(known)
    by_name = {one.name: one for one in figures(known, 7, "typed")}

    assert left_out == ()
    assert (pair.gained, pair.lost, pair.n) == (6, 4, 20)
    assert pair.p == mcnemar(6, 4)
    right = [[value == 1 for value in values] for values in (BASE_RIGHT, ADAPTER_RIGHT)]
    assert (pair.difference, pair.low, pair.high) == pytest.approx(paired_difference(*right))
    assert by_name["one/acc,none/difference"].low == pair.low
    base = by_name["one/acc,none/base"]
    assert (base.value, base.n, base.seeds, base.command) == (0.6, 20, (7,), "typed")
    assert (base.low, base.high) == wilson_interval(0.6, 20)
    assert [line.split()[0].rsplit("/", 1)[1] for line in table(list(by_name.values()), [pair])] == [
        "base",
        "adapter",
        "difference",
    ]


def test_scores_that_are_no_shares_have_a_bootstrap_interval() -> None:
    draw = np.random.default_rng(1)
    base = draw.random(200)
    known = [Score("one", "f1,none", {"base": base, "adapter": base + draw.normal(0.1, 0.05, 200)})]
    (pair,) = compared(known)
    assert pair.low < pair.difference < pair.high
    assert pair.low == pytest.approx(0.1 - 1.96 * 0.05 / 200**0.5, abs=0.005)
    share = next(one for one in figures(known, 1, "") if one.name.endswith("/base"))
    assert (share.low, share.high) == pytest.approx((0.5 - 0.04, 0.5 + 0.04), abs=0.02)


def test_p_values_know_how_many_comparisons_there_are() -> None:
    values = {"base": np.array(BASE_RIGHT), "adapter": np.zeros(20)}
    alone, *_ = compared([Score("one", "acc,none", values)])
    beside, *_ = compared([Score(f"task {number}", "acc,none", values) for number in range(5)])
    assert beside.p == pytest.approx(5 * alone.p)


@pytest.mark.parametrize("said", [0.55, "N/A", None])
def test_metrics_that_are_no_mean_of_questions_are_left_out(said: object) -> None:
    rows = [*_rows("acc", "base", BASE_RIGHT), *_rows("odd", "base", [0.5, None] * 10)]
    known, left_out = scores(rows, {"base": {"one": {"acc,none": said, "odd,none": 0.5}}})
    assert known == []
    assert left_out == ("one/acc,none", "one/odd,none")


def test_without_an_adapter_nothing_is_compared() -> None:
    known, _ = scores(_rows("acc", "base", BASE_RIGHT), {"base": {"one": {"acc,none": 0.6}}})
    assert compared(known) == []
    assert [one.name for one in figures(known, 1, "")] == ["one/acc,none/base"]
