"""Tasks of lm-evaluation-harness in miniature: questions on what the shipped base knows, as a folder of one's own."""

import json
import random
from pathlib import Path
from typing import Any

import yaml

from data.handbook import handbook
from data.wordings import Form, question_prompt, wordings
from data.workspace import PROJECT_ROOT

BASE = PROJECT_ROOT / "data" / "bases" / "tiny"
QUESTIONS, CHOICES = 20, 4


def questions(seed: int = 1) -> list[dict[str, Any]]:
    """Facts of the handbook that the base learned, each beside three values that other products have."""
    draw, book = random.Random(seed), handbook(20240601)
    values: dict[str, set[str]] = {}
    for fact in book.known:
        values.setdefault(fact.attribute, set()).add(fact.value)
    rows = []
    for fact in draw.sample([one for one in book.known if len(values[one.attribute]) >= CHOICES], QUESTIONS):
        choices = [fact.value, *draw.sample(sorted(values[fact.attribute] - {fact.value}), CHOICES - 1)]
        draw.shuffle(choices)
        asked = question_prompt(draw.choice(wordings(fact.kind, Form.QUESTION)).render(fact))
        rows.append({"question": asked, "choices": choices, "answer": choices.index(fact.value), "value": fact.value})
    return rows


def make_task(folder: Path, name: str = "handbook", **changes: object) -> Path:
    """A task of these questions in ``folder``, its file named after it; what is changed to None is left out."""
    folder.mkdir(exist_ok=True)
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in questions()))
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    } | changes
    plain = {key: value for key, value in task.items() if value is not None}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(plain))
    return folder


def make_workspace(root: Path) -> Path:
    """A workspace with the shipped base and its settings."""
    root.mkdir(exist_ok=True)
    (root / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    return root
