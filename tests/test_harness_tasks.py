"""Tasks of lm-evaluation-harness on the shipped base: figures that are its own, and what it is kept from."""

import json
import socket
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from bench import harness_library
from bench.harness_library import Request, contained, load_tasks
from data.errors import InputError
from flows.cli import app
from models.adapters import new_lora, save_adapter
from models.base import load_base
from tests.harness_miniature import BASE, CHOICES, QUESTIONS, make_task, make_workspace, questions

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that was never trained and disturbs the base."""
    torch.manual_seed(1)
    made = new_lora(load_base(BASE)[0], 2, 4, 0.0, 1)
    for name, values in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.5)
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(made, folder, "tiny")
    return folder


def _ask(tmp_path: Path, *options: str, tasks: Path | None = None, task: str = "handbook") -> dict[str, Any]:
    place = [] if tasks is None else ["--include-path", str(tasks)]
    workspace = make_workspace(tmp_path / "workspace")
    done = CliRunner().invoke(
        app, ["bench", "tasks", "--task", task, *place, *options, "--workspace", str(workspace), "--json"]
    )
    if done.exception is not None:
        raise done.exception
    content: dict[str, Any] = json.loads(done.stdout)
    return content


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory: pytest.TempPathFactory, adapter: Path) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("asked")
    return _ask(place, "--adapter", str(adapter), tasks=make_task(place / "tasks"))


# --- what it finds -----------------------------------------------------------------------------------


def test_figures_are_those_of_the_harness(side_by_side: dict[str, Any]) -> None:
    outcomes = json.loads(Path(side_by_side["results"]).read_text())["outcomes"]
    figures = {one["name"]: one for one in side_by_side["figures"]}
    for model in ("base", "adapter"):
        for metric in ("acc,none", "acc_norm,none"):
            figure = figures[f"handbook/{metric}/{model}"]
            assert figure["value"] == pytest.approx(outcomes[model]["results"]["handbook"][metric], abs=1e-12)
            assert figure["n"] == QUESTIONS
    assert side_by_side["left_out"] == []
    assert figures["handbook/acc,none/base"]["value"] >= 0.9  # it learned them
    assert figures["handbook/acc,none/adapter"]["value"] < figures["handbook/acc,none/base"]["value"]


def test_both_answered_the_same_questions_and_every_answer_is_kept(side_by_side: dict[str, Any]) -> None:
    rows = pq.read_table(side_by_side["answers"]).to_pandas()
    base, adapter = (rows[rows["model"] == model].reset_index() for model in ("base", "adapter"))
    assert len(base) == len(adapter) == 2 * QUESTIONS
    for column in ("task", "metric", "number", "arguments", "target"):
        assert list(base[column]) == list(adapter[column])
    assert list(base["responses"]) != list(adapter["responses"])
    prompts = {row["question"] for row in questions()}
    for arguments, responses in zip(base["arguments"], base["responses"], strict=True):
        assert len(json.loads(responses)) == CHOICES
        assert {prompt for prompt, _ in json.loads(arguments)} <= prompts


def test_gains_and_losses_are_counted_over_the_answers(side_by_side: dict[str, Any]) -> None:
    rows = pq.read_table(side_by_side["answers"]).to_pandas()
    wide = rows[rows["metric"] == "acc"].pivot(index="number", columns="model", values="value")
    (pair,) = [one for one in side_by_side["comparisons"] if one["metric"] == "acc,none"]
    assert pair["lost"] == ((wide["base"] == 1) & (wide["adapter"] == 0)).sum() > 0
    assert pair["gained"] == ((wide["base"] == 0) & (wide["adapter"] == 1)).sum()
    assert pair["difference"] == pytest.approx(wide["adapter"].mean() - wide["base"].mean())
    assert pair["low"] <= pair["difference"] <= pair["high"]


def test_answers_in_words_are_graded_by_the_task(tmp_path: Path) -> None:
    tasks = make_task(
        tmp_path / "tasks",
        output_type="generate_until",
        doc_to_choice=None,
        doc_to_target="value",
        generation_kwargs={"max_gen_toks": 16, "until": ["\n"]},
        metric_list=[{"metric": "exact_match"}],
    )
    done = _ask(tmp_path, "--limit", "6", tasks=tasks)
    rows = pq.read_table(done["answers"]).to_pylist()
    assert [row["value"] for row in rows] == [float(json.loads(row["responses"]) == [row["target"]]) for row in rows]
    assert done["figures"][0]["n"] == 6
    assert done["figures"][0]["command"].endswith(f"--include-path {tasks} --limit 6 --seed 1234")


def test_examples_come_before_the_question_and_follow_the_seed(tmp_path: Path) -> None:
    tasks = make_task(tmp_path / "tasks", fewshot_split="test")
    asked: dict[str, list[str]] = {}
    for seed in ("1", "2", "1"):
        done = _ask(tmp_path, "--limit", "3", "--num-fewshot", "2", "--seed", seed, tasks=tasks)
        arguments = pq.read_table(done["answers"]).column("arguments").to_pylist()
        assert all(json.loads(one)[0][0].count("Question:") == 3 for one in arguments)
        assert asked.setdefault(seed, arguments) == arguments
    assert asked["1"] != asked["2"]


def test_what_is_no_mean_over_questions_stands_in_the_results_alone(tmp_path: Path) -> None:
    tasks = make_task(
        tmp_path / "tasks",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{question}}",
        doc_to_choice=None,
        metric_list=[{"metric": "word_perplexity"}],
    )
    done = _ask(tmp_path, tasks=tasks)
    assert done["figures"] == []
    assert done["left_out"] == ["handbook/word_perplexity,none"]
    found = json.loads(Path(done["results"]).read_text())["outcomes"]["base"]["results"]["handbook"]
    assert found["word_perplexity,none"] > 1


# --- what is too long --------------------------------------------------------------------------------


def test_prompts_that_the_base_cannot_read_whole_are_refused(tmp_path: Path) -> None:
    tasks = make_task(tmp_path / "tasks", description="the place of manufacture " * 400)
    with pytest.raises(InputError, match=r"^80 of the 80 prompts of handbook .* 1,024 tokens"):
        _ask(tmp_path, tasks=tasks)


def test_more_examples_than_there_are_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not make its prompts"):
        _ask(tmp_path, "--limit", "1", "--num-fewshot", "500", tasks=make_task(tmp_path / "tasks"))


def test_room_for_the_answer_counts(tmp_path: Path) -> None:
    tasks = make_task(
        tmp_path / "tasks",
        output_type="generate_until",
        doc_to_choice=None,
        doc_to_target="value",
        generation_kwargs={"max_gen_toks": 1020, "until": ["\n"]},
        metric_list=[{"metric": "exact_match"}],
    )
    with pytest.raises(InputError, match="longer than the 1,024 tokens"):
        _ask(tmp_path, "--limit", "2", tasks=tasks)


# --- what it is kept from ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def all_tasks() -> Any:
    """The harness's index of its own tasks, which takes ten seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


@pytest.fixture
def indexed(all_tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness_library, "_manager", lambda asked: all_tasks)


@pytest.mark.usefixtures("indexed")
def test_data_that_is_not_here_is_not_fetched_unasked() -> None:
    with (
        contained(download=False) as refused,
        pytest.raises(InputError, match=r"arc_easy: .*not on this machine.*--download"),
    ):
        load_tasks(Request(("arc_easy",)), refused)


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("download", [False, True])
def test_tasks_that_run_what_a_model_wrote_are_refused(download: bool) -> None:
    with contained(download) as refused, pytest.raises(InputError, match="this would run code"):
        load_tasks(Request(("humaneval",), download=download), refused)


@pytest.mark.usefixtures("indexed")
def test_an_unknown_name_is_answered_with_names_like_it() -> None:
    with contained(download=False) as refused, pytest.raises(InputError, match=r"hellasswag is no task.*hellaswag"):
        load_tasks(Request(("hellasswag",)), refused)


def test_nothing_leaves_the_machine_unless_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with contained(download=False):
        assert constants.is_offline_mode()
        assert datasets.config.HF_HUB_OFFLINE
        with pytest.raises(ConnectionError, match="--download"):
            socket.create_connection(("localhost", 9), timeout=1)
    with contained(download=True):
        assert not constants.is_offline_mode()
        assert not datasets.config.HF_HUB_OFFLINE
    assert socket.getaddrinfo("127.0.0.1", 9)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"unsafe_code": True},
        {
            "metric_list": [
                {"metric": "code_eval", "hf_evaluate": True, "aggregation": "mean", "higher_is_better": True}
            ]
        },
        {"metric_list": [{"metric": "unheard_of", "aggregation": "mean", "higher_is_better": True}]},
    ],
)
def test_tasks_of_a_folder_run_no_foreign_code(tmp_path: Path, changes: dict[str, Any], download: bool) -> None:
    asked = Request(("handbook",), make_task(tmp_path / "tasks", **changes), download=download)
    with contained(download) as refused, pytest.raises(InputError, match="this would run code"):
        load_tasks(asked, refused)


def test_a_task_that_runs_code_is_refused_under_its_tag_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import TaskManager

    folder = make_task(tmp_path / "tasks", tag="mine", unsafe_code=True)
    own = TaskManager(include_path=str(folder), include_defaults=False)
    monkeypatch.setattr(harness_library, "_manager", lambda asked: own)
    with contained(download=False) as refused, pytest.raises(InputError, match="handbook: this would run code"):
        load_tasks(Request(("mine",), folder), refused)


def test_templates_run_in_a_sandbox(tmp_path: Path) -> None:
    asked = Request(("handbook",), make_task(tmp_path / "tasks", doc_to_text="{{ question.__class__.__mro__ }}"))
    with contained(download=False) as refused, pytest.raises(InputError, match="unsafe"):
        load_tasks(asked, refused)


def test_code_beside_a_task_is_not_imported(tmp_path: Path) -> None:
    tasks = make_task(tmp_path / "tasks")
    (tasks / "handbook.yaml").write_text((tasks / "handbook.yaml").read_text() + "process_docs: !function utils.run\n")
    (tasks / "utils.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n\ndef run(docs):\n    return docs\n"
    )
    with pytest.raises(InputError, match=r"handbook\.yaml is not plain YAML.*!function"):
        _ask(tmp_path, tasks=tasks)
    assert not (tmp_path / "ran").exists()
