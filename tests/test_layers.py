"""Imports go one way, and light modules stay light."""

import re
import subprocess
import sys
from pathlib import Path

from data.workspace import PROJECT_ROOT

LINT = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LINT], cwd=root, capture_output=True, text=True, check=False)


def test_every_contract_is_kept() -> None:
    result = _lint(PROJECT_ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_step_backwards_is_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes((PROJECT_ROOT / "pyproject.toml").read_bytes())
    for package in ("flows", "tasks", "models", "data", "bench"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    assert _lint(tmp_path).returncode == 0

    (tmp_path / "models" / "training.py").write_text("import tasks\n\n\ndef log() -> None:\n    import mlflow\n")
    result = _lint(tmp_path)
    assert result.returncode == 1
    assert "Imports go one way" in result.stdout
    assert "models.training -> mlflow" in result.stdout


def test_every_module_stands_once_in_the_table_of_layers() -> None:
    table: dict[str, list[str]] = {}
    folder = ""
    for line in (PROJECT_ROOT / "docs" / "architecture.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and re.fullmatch(r"`\w+/`|", cells[1]):  # one row per file group; an empty cell goes on
            folder = cells[1].strip("`/") or folder
            table.setdefault(folder, []).extend(re.findall(r"`(\w+)`", cells[2]))
    for layer in ("data", "models", "tasks", "flows", "bench"):
        files = [path.stem for path in (PROJECT_ROOT / layer).glob("*.py") if path.stem != "__init__"]
        assert sorted(table[layer]) == sorted(files), layer


def test_reading_the_contract_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "peft", "mlflow", "prefect", "great_expectations", "dvc", "pandas")
    code = f"import data.fingerprint, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
