"""The command line is an interface: examples, exit codes, one JSON object, nothing heavy for a help text."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from data.evaluation_records import Verdict
from data.files import printable, shortened
from data.params import Params, explain, load_params
from data.workspace import PROJECT_ROOT, with_quick
from flows.cli import app
from flows.command import fail, show
from flows.progress import Lines
from tests.programs import RELEARN, relearn

HEAVY = {"torch", "transformers", "mlflow", "prefect", "great_expectations", "dvc", "pandas", "sqlalchemy", "rich"}


def commands() -> list[list[str]]:
    group = get_command(app)
    names: list[list[str]] = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names.extend([[name, sub] for sub in inner] if inner else [[name]])
    return names


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_shows_an_example_that_is_its_own(command: list[str]) -> None:
    said = CliRunner().invoke(app, [*command, "--help"]).output
    assert f"Example: relearn {' '.join(command)}" in said
    assert "--json" in said


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['relearn', *{arguments!r}]\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
        f"assert not {HEAVY!r} & set(sys.modules), {HEAVY!r} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "relearn" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run"], 2, "no params.yaml"),
        (["run", "--workspace", "/nowhere"], 2, "no params.yaml"),
        (["ask", "x", "--workspace", str(PROJECT_ROOT / "tests")], 2, "no params.yaml"),
        (["ingest", "--workspace", "HERE"], 2, "Begin with relearn run"),
        (["run", "--accept-loss", "--workspace", "HERE"], 2, "needs a reason"),
        (["base", "build", "--workspace", "HERE", "--out", "."], 2, "would be lost"),
        (["base", "build", "--workspace", "HERE", "--out", "kept"], 2, "would be lost"),
        (["init", "HERE", "--remote", "http://[x"], 2, "no address"),
        (["base", "build", "--until", "yesterday", "--workspace", "HERE", "--out", "/nowhere"], 2, "not a date"),
    ],
)
def test_failures_are_one_sentence_and_an_exit_code(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    if arguments[0] != "init":
        shutil.copy(PROJECT_ROOT / "params.yaml", tmp_path)
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "letter.md").write_text("mine")
    done = relearn(*(str(tmp_path) if argument == "HERE" else argument for argument in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_no_library_reports_home() -> None:
    names = [
        "DO_NOT_TRACK", "DVC_NO_ANALYTICS", "GX_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY",
        "MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED",
    ]  # fmt: skip
    program = f"import os, flows.cli; print(*(os.environ.get(name) for name in {names!r}))"
    bare = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=bare)
    assert done.stdout.split() == ["1", "1", "false", "1", "true", "false"]


def test_names_of_files_do_not_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc\u202ed é") == "a\\u001b[31mb\\u000ac\\u202ed é"


def test_long_names_are_shown_by_their_ends() -> None:
    assert shortened("a\nb") == "a\\u000ab"
    long = shortened("begin" + "x" * 5000 + "\x1bend.md")
    assert len(long) <= 161
    assert (long[:5], long[-13:]) == ("begin", "x\\u001bend.md")


def test_what_is_printed_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show({}, False, ["two\nlines \x1b[2J"])
    assert capsys.readouterr().out == "two\nlines \\u001b[2J\n"
    Lines("ingest").show("c\x1b[2J", done=True)
    with pytest.raises(SystemExit):
        fail("a\x1b[2J", 2)
    assert "\x1b[2J" not in capsys.readouterr().err


def test_json_is_one_object_on_standard_output() -> None:
    done = relearn("config", "check", "--json", "--workspace", str(PROJECT_ROOT))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["valid"] is True


def test_files_are_as_open_as_whoever_runs_it_wants(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from data.files import write_text; write_text(Path(sys.argv[1]), '')"
    )
    for umask in (0o077, 0o022):
        file = tmp_path / f"{umask:o}"
        subprocess.run([sys.executable, "-c", program, file], check=True, umask=umask, cwd=PROJECT_ROOT)
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask


def test_every_parameter_is_explained() -> None:
    lines = explain(Params)
    assert len(lines) > 50
    assert not [line for line in lines if line.endswith(("None", ": "))]


def test_quick_changes_what_it_names_and_nothing_else() -> None:
    params = load_params(PROJECT_ROOT / "params.yaml")
    quick = with_quick(params)
    assert quick.train.steps == params.quick.steps
    assert quick.assess.held_questions == params.quick.held_questions
    steps = params.train.model_dump(include={"steps", "min_passes"})
    assert quick.train.model_copy(update=steps) == params.train
    assert (quick.gates, quick.synthesize, quick.ingest) == (params.gates, params.synthesize, params.ingest)


def test_verdicts_are_what_the_documentation_says() -> None:
    assert {verdict.value for verdict in Verdict} == {"promote", "hold", "reject"}


INTERRUPTED_WHILE = """
import os, signal, sys
from flows import start
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["relearn", "--version"]
start.main()
"""


@pytest.mark.parametrize("module", ["flows.cli", "typer", "data.errors"])
def test_ctrl_c_during_imports_is_one_sentence(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE.format(module=module)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "relearn: Interrupted before anything was begun. Run the same command again.\n"


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_nothing(closed: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = f"{RELEARN} spectra {PROJECT_ROOT / 'data' / 'bases' / 'tiny'} --html {page} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else f"{page}\n")
    assert "Traceback" not in done.stderr
