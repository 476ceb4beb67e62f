"""How long a context is read: three answers of intervals, who reads and who does not, going on after a kill, the page.

The reader is a double of the model alone: it finds by rule in its prompt what a question is about, as far back as its
window goes, and knows nothing else. All around it is the bench as people run it.
"""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench import context_run
from bench.context_figures import ALL, Held, figures, judged, reach, too_few
from bench.measured import Figure
from data.context_drafts import Task
from data.workspace import PROJECT_ROOT
from flows.cli import app
from models.base import load_base
from models.statistics import wilson_interval
from tests.html_page import Page

BASE = PROJECT_ROOT / "data" / "bases" / "tiny"
FACT = re.compile(r"(?:The|One) ([a-z ]+ of the \w+ \w+) is (.+?)\.(?=\s|$)")
ENOUGH = ["bench", "context", "--questions", "23"]
"""Questions of which all right hold a length."""


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def found(text: str, question: str) -> list[str]:
    """What a text says about a question."""
    if "most often" in question:
        return [word for word, _ in Counter(words(text)).most_common(3)]
    if question.startswith("Which codes"):
        codes = words(question)[-1:]
        for code, before in re.findall(r"(\w+) is (\w+)\.", text):
            codes += [code] * (before in codes)
        return codes[1:]
    return [value for subject, value in FACT.findall(text) if set(words(subject)) <= set(words(question))]


class Reader:
    """A double of a model that reads the last ``window`` tokens of what it is given."""

    device = torch.device("cpu")

    def __init__(self, tokenizer: Any, window: int) -> None:
        self.tokenizer, self.window = tokenizer, window
        self.config = SimpleNamespace(max_position_embeddings=1024)
        self.read: list[str] = []
        self.breaks_after: int | None = None

    def generate(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, max_new_tokens: int, **given: Any
    ) -> list[list[int]]:
        if self.breaks_after is not None and len(self.read) >= self.breaks_after:
            raise KeyboardInterrupt
        said = []
        for ids, mask in zip(input_ids, attention_mask, strict=True):
            prompt = self.tokenizer.decode(ids[mask.bool()][-self.window :], skip_special_tokens=True)
            self.read.append(prompt)
            text, _, asked = f"\n{prompt}".rpartition("\nQuestion: ")
            answer = ", ".join(found(text, asked.removesuffix("\nAnswer:")))
            said.append(self.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"][:max_new_tokens])
        return said


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    return tmp_path


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    tokenizer = load_base(BASE)[1]
    one = Reader(tokenizer, 10**6)
    monkeypatch.setattr(context_run, "load_base", lambda folder: (one, tokenizer))
    return one


def run(workspace: Path, *typed: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*typed, "--workspace", str(workspace), "--json"])
    assert done.exit_code == 0, done.output
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def statements(done: dict[str, Any]) -> dict[str, str]:
    return {one["task"]: one["statement"] for one in done["effective"]}


# --- what intervals say ------------------------------------------------------------------------------


def scored(length: int, right: int, n: int = 50) -> Figure:
    low, high = wilson_interval(right / n, n)
    return Figure(f"a/{length}/score", right / n, low, high, n, (1,), "")


@pytest.mark.parametrize(
    ("right", "statement"),
    [
        ((50, 50, 50), "at least 256 tokens, the longest tried"),
        ((0, 50, 50), "below 64 tokens, the shortest tried"),
        ((50, 50, 20), "at least 128, below 256 tokens"),
        ((50, 44, 20), "at least 64, below 256; undecided at 128 tokens"),
        ((50, 44, 44), "at least 64; undecided at 128, 256 tokens"),
        ((44, 44, 20), "below 256; undecided at 64, 128 tokens"),
        ((44, 50, 44), "undecided at 64, 128, 256 tokens"),
    ],
)
def test_the_effective_length_is_said_as_far_as_it_is_known(right: tuple[int, ...], statement: str) -> None:
    scores = {length: scored(length, each) for length, each in zip((64, 128, 256), right, strict=True)}
    assert reach("a", scores, 0.856).statement == statement


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.floats(0.05, 1))
def test_what_is_held_for_certain_is_likely_and_what_is_likely_is_not_ruled_out(
    right: list[int], threshold: float
) -> None:
    scores = {64 * 2**place: scored(64 * 2**place, each) for place, each in enumerate(right)}
    one = reach("a", scores, threshold)
    rows = [
        {"task": "a", "length": length, "score": float(number < each), "score_without": 0.0}
        for length, each in zip(scores, right, strict=True)
        for number in range(50)
    ]
    told = next(each for each in figures(rows, 1, threshold, "") if each.name.startswith("a/effective"))
    assert (told.low, told.value) == ((one.at_least or 0), (one.likely or 0))
    assert told.low <= told.value <= told.high
    assert told.high < (one.below or 10**9)
    assert all((one.at_least or 0) < length < (one.below or 10**9) for length in one.undecided)
    assert {length for length in one.tried if length <= (one.at_least or 0)} <= {
        length for length, score in scores.items() if judged(score, threshold) is Held.HOLDS
    }


def test_too_few_questions_to_hold_a_length_are_said_to_be() -> None:
    assert "Ask 23 or more" in str(too_few(22, 0.856))
    assert judged(scored(64, 22, 22), 0.856) is Held.UNDECIDED
    assert too_few(23, 0.856) is None
    assert judged(scored(64, 23, 23), 0.856) is Held.HOLDS
    assert "lower threshold" in str(too_few(50, 1.0))


# --- who reads, and who does not ---------------------------------------------------------------------


def test_who_finds_everything_in_the_context_reads_the_longest_length(workspace: Path, reader: Reader) -> None:
    """The other end of the scale: without it, a base at zero would say as much about the bench as about the base."""
    done = run(workspace, *ENOUGH, "--length", "64", "--length", "256")
    assert set(statements(done)) == {*Task, ALL}
    assert set(statements(done).values()) == {"at least 256 tokens, the longest tried"}
    figures = {one["name"]: one for one in done["figures"]}
    assert all(one["value"] == 1 for name, one in figures.items() if name.endswith("/score"))
    assert all(one["value"] == 0 for name, one in figures.items() if name.endswith("/no context"))
    assert figures[f"{ALL}/effective length at 0.856"]["low"] == 256


def test_who_sees_only_the_end_of_the_context_reads_as_far_as_that(workspace: Path, reader: Reader) -> None:
    reader.window = 70
    done = run(workspace, *ENOUGH, "--length", "64", "--length", "128")
    assert statements(done)[Task.SINGLE] == "at least 64, below 128 tokens"
    assert statements(done)[Task.VALUES] == "below 128 tokens, the shortest tried"


# --- going on after a kill ---------------------------------------------------------------------------


def test_what_was_answered_whole_is_not_asked_again(workspace: Path, reader: Reader) -> None:
    typed = ["bench", "context", "--length", "128", "--questions", "2"]
    reader.breaks_after = 10  # in the third task, each of which reads two prompts with the context and two without
    assert CliRunner().invoke(app, [*typed, "--workspace", str(workspace)]).exit_code != 0
    reader.breaks_after, first = None, len(reader.read)
    done = run(workspace, *typed)
    assert (done["kept"], done["asked"]) == (2, 5)
    assert len(reader.read) - first == 4 * 5

    again = run(workspace, *typed)
    assert (again["kept"], again["asked"]) == (7, 0)
    assert len(reader.read) - first == 4 * 5
    assert again["figures"] == done["figures"]
    lines = CliRunner().invoke(app, [*typed, "--workspace", str(workspace)]).stdout
    assert "Kept from before: 7 of 7 tasks by length" in lines


def test_another_length_asks_only_what_is_new(workspace: Path, reader: Reader) -> None:
    typed = ["bench", "context", "--length", "128", "--questions", "2"]
    first = run(workspace, *typed)
    both = run(workspace, *typed, "--length", "64")
    assert both["kept"] == first["asked"]
    assert {row["length"] for row in pq.read_table(both["answers"]).to_pylist()} == {64, 128}
    alone = run(workspace, *typed)
    assert {row["length"] for row in pq.read_table(alone["answers"]).to_pylist()} == {128}


@pytest.mark.parametrize("other", [["--seed", "2"], ["--questions", "3"]])
def test_other_questions_are_asked_anew(workspace: Path, reader: Reader, other: list[str]) -> None:
    typed = ["bench", "context", "--length", "128", "--questions", "2"]
    run(workspace, *typed)
    assert run(workspace, *typed, *other)["kept"] == 0
    assert run(workspace, *typed, "--threshold", "0.5")["asked"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_here")
def test_two_processes_give_what_one_gives(workspace: Path) -> None:
    typed = ["bench", "context", "--length", "64", "--length", "128", "--questions", "3"]
    with pytest.MonkeyPatch.context() as here:
        here.setattr(context_run, "_ask", None)  # this process asks nothing
        spread = run(workspace, *typed, "--workers", "2")
    answers = pq.read_table(spread["answers"])

    settings = workspace / "params.yaml"
    settings.write_text(re.sub(r"(?m)^  threads: .*$", "  threads: 1", settings.read_text("utf-8")), "utf-8")
    for folder in (workspace / ".relearn" / "bench" / "context").glob("[0-9a-f]*[0-9a-f]"):
        shutil.rmtree(folder)
    alone = run(workspace, *typed)
    assert (spread["kept"], alone["kept"]) == (0, 0)
    assert spread["asked"] == alone["asked"] > 7
    assert pq.read_table(alone["answers"]).equals(answers)
    assert alone["figures"] == spread["figures"]


# --- what is written ---------------------------------------------------------------------------------


def test_figures_and_page_lie_beside_the_answers_and_say_the_same(workspace: Path, reader: Reader) -> None:
    done = run(workspace, "bench", "context", "--length", "64", "--length", "128", "--questions", "4")
    folder = workspace / ".relearn" / "bench" / "context"
    assert (Path(done["page"]), Path(done["written"])) == (folder / "page.html", folder / "figures.json")
    written = json.loads((folder / "figures.json").read_text("utf-8"))
    assert {name: done[name] for name in ("figures", "effective", "left_out", "note")} == {
        name: value for name, value in written.items() if name != "costs"
    }
    assert all(one["answering_seconds"] >= 0 for one in written["costs"])

    page = Page((folder / "page.html").read_text("utf-8"))
    assert page.names().count("svg") == 1 + len(Task) + 1
    assert not {"script", "link", "img"} & set(page.names())
    assert all(statement in page.text() for statement in statements(done).values())
    assert "Ask 23 or more" in page.text()
    assert "multi-key/64" in page.text()
    assert "relearn bench context --length 64 --length 128 --questions 4" in page.text()


def test_the_page_can_lie_elsewhere(workspace: Path, reader: Reader) -> None:
    page = workspace / "there" / "context.html"
    done = run(workspace, "bench", "context", "--length", "64", "--questions", "2", "--html", str(page))
    assert Path(done["page"]) == page
    assert page.is_file()
    assert not (workspace / ".relearn" / "bench" / "context" / "page.html").exists()
