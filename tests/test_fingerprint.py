"""A stage's code digest changes with what the code means, in any file it imports, and with nothing else."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from data.errors import InputError
from data.files import read_json
from data.fingerprint import READS, code_digest, is_as_fixed, read_inputs, write_inputs
from data.workspace import PROJECT_ROOT, STAGES, Workspace

READING = '''"""Read."""

class Page:
    """One page."""

    size: int = Field(1, description="How big.")
'''
SAID_BETTER = READING.replace("Read.", "Read, said better.").replace("One page", "A page of a document")
COMMENTED = READING.replace("class", "# why\nclass") + '    """What follows a field."""\n'
HELP_TEXT = READING.replace("How big.", "How very big.")

MINIATURE = {
    "flows/__init__.py": "",
    "flows/ingest.py": "from data import reading\n\ndef run():\n    from tasks.store import keep\n",
    "flows/synthesize.py": "from . import ingest\n",
    "flows/train.py": "import importlib\n\nMETHOD = importlib.import_module('models.training')\n",
    "flows/audit.py": "import models.spectra as spectra\n",
    "flows/assess.py": "from models.spectra import *\n",
    "flows/cli.py": "import flows.ingest\n",
    "tasks/__init__.py": "",
    "tasks/store.py": "import json\nimport data.wordings\n\ndef keep():\n    return json\n",
    "models/__init__.py": "",
    "models/spectra.py": "ALPHA = 2\n",
    "models/training.py": "from models import spectra\n",
    "data/__init__.py": "",
    "data/reading.py": READING,
    "data/wordings.py": "import data.reading\n",
    "data/prompts/wordings.yaml": "table: []\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in MINIATURE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    base = tmp_path / "data" / "bases" / "tiny"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    return tmp_path


def _files(root: Path, stage: str) -> set[str]:
    return set(read_inputs(Workspace(root), root).code[stage]["files"])


def test_closure_follows_every_way_to_import(root: Path) -> None:
    reading = {
        "flows/__init__.py",
        "flows/ingest.py",
        "data/__init__.py",
        "data/reading.py",
        "tasks/__init__.py",
    }
    assert _files(root, "ingest") == reading | {
        "tasks/store.py", "data/wordings.py", "data/prompts/wordings.yaml"
    }  # fmt: skip
    assert _files(root, "synthesize") == _files(root, "ingest") | {"flows/synthesize.py"}
    assert _files(root, "train") >= {"models/training.py", "models/spectra.py"}
    assert "models/spectra.py" in _files(root, "audit") & _files(root, "assess")


@pytest.mark.parametrize("stage", STAGES)
def test_a_change_in_any_file_of_the_closure_changes_exactly_the_stages_that_reach_it(root: Path, stage: str) -> None:
    before = {other: code_digest(f"flows.{other}", root) for other in STAGES}
    for name in _files(root, stage):
        path = root / name
        content = path.read_text()
        path.write_text(f"{content}\nADDED = 1\n" if path.suffix == ".py" else f"{content}more: []\n")
        reached = {other for other in STAGES if name in _files(root, other)}
        changed = {other for other in STAGES if code_digest(f"flows.{other}", root) != before[other]}
        assert stage in reached
        assert changed == reached
        path.write_text(content)


@pytest.mark.parametrize("text", [SAID_BETTER, COMMENTED, HELP_TEXT])
def test_what_only_people_read_does_not_count(root: Path, text: str) -> None:
    before = code_digest("flows.ingest", root)
    (root / "data/reading.py").write_text(text)
    assert code_digest("flows.ingest", root) == before
    (root / "data/reading.py").write_text(text.replace("(1", "(2"))
    assert code_digest("flows.ingest", root) != before


def test_an_unknown_module_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"flows\.missing"):
        code_digest("flows.missing", root)


def test_inputs_are_written_once_and_follow_changes(root: Path) -> None:
    workspace = Workspace(root)
    write_inputs(workspace, root)
    files = [workspace.base_digest, *(workspace.code(stage) for stage in STAGES)]
    first = {path: (path.stat().st_ino, read_json(path)["digest"]) for path in files}
    assert first[workspace.code("train")][1] == code_digest("flows.train", root)

    write_inputs(workspace, root)
    assert {path: path.stat().st_ino for path in files} == {path: inode for path, (inode, _) in first.items()}

    (root / "models/training.py").write_text("RATE = 1\n")
    (root / "data/bases/tiny/config.json").write_text('{"layers": 4}')
    write_inputs(workspace, root)
    changed = {path for path in files if read_json(path)["digest"] != first[path][1]}
    assert changed == {workspace.code("train"), workspace.base_digest}
    assert read_json(workspace.code("train"))["digest"] == code_digest("flows.train", root)


def test_code_that_is_no_longer_what_was_fixed_is_seen(root: Path) -> None:
    workspace = Workspace(root)
    write_inputs(workspace, root)
    assert is_as_fixed(workspace, "train", root)
    (root / "models/training.py").write_text("RATE = 1\n")
    assert [stage for stage in STAGES if not is_as_fixed(workspace, stage, root)] == ["train"]


def test_threads_may_ask_at_once() -> None:
    """Collecting garbage lets another thread in, in the middle of a syntax tree."""

    def let_others_in(*_: object) -> None:
        time.sleep(0)

    usual = gc.get_threshold()
    gc.callbacks.append(let_others_in)
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert len({*pool.map(code_digest, ["data.conversion"] * 4)}) == 1
    finally:
        gc.set_threshold(*usual)
        gc.callbacks.remove(let_others_in)


def test_a_damaged_memory_costs_time_only(root: Path) -> None:
    workspace = Workspace(root)
    write_inputs(workspace, root)
    before = read_json(workspace.code("ingest"))
    for name in ("code.json", "base.json"):
        (workspace.state / "cache" / name).write_text('{"files": ')
    write_inputs(workspace, root)
    assert read_json(workspace.code("ingest")) == before


# --- the project itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_of_the_pipeline_depends_on_its_code(root: Path, stage: str) -> None:
    declared = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"]
    assert f"data/inputs/code/{stage}.json" in declared
    assert ("data/inputs/base.json" in declared) is (stage != "ingest"), "documents are read before any base"
    assert f"flows/{stage}.py" in read_inputs(Workspace(root), PROJECT_ROOT).code[stage]["files"]


def test_files_that_code_reads_exist() -> None:
    for module, patterns in READS.items():
        assert (PROJECT_ROOT / module).is_file()
        assert all(list(PROJECT_ROOT.glob(pattern)) for pattern in patterns)


def test_the_second_look_parses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(root)
    fixed = write_inputs(workspace, PROJECT_ROOT)
    monkeypatch.setattr("data.fingerprint.ast", None)
    assert write_inputs(workspace, PROJECT_ROOT) == fixed
