"""``params.yaml``: what is wrong with it is said in one sentence that names the place."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from data.errors import InputError
from data.params import Params, load_params
from data.params_file import render
from data.workspace import PROJECT_ROOT
from tests.programs import relearn

FILE = PROJECT_ROOT / "params.yaml"
SHIPPED = re.sub(r" +#.*", "", FILE.read_text(encoding="utf-8"))
"""Without its comments."""


def test_the_shipped_file_is_valid(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    assert load_params(tmp_path / "params.yaml").base == "data/bases/tiny"


def test_the_shipped_file_says_of_every_field_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == render(load_params(FILE))


def test_every_value_stands_in_the_file_alone() -> None:
    def second_places(block: type[BaseModel]) -> list[str]:
        found = []
        for name, field in block.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += [f"{name}.{one}" for one in second_places(inner)]
            elif not field.is_required():
                found.append(name)
        return found

    assert second_places(Params) == ["notify"], "a list of hooks, which may be absent"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  steps: 1", "  stepps: 1", "train.stepps is not a known key, did you mean steps?"),
        ("  rank: 32\n", "", "train.rank is missing; copy its line from the project's params.yaml"),
        ("  watch_every: 100\n", "", "train.watch_every is missing"),
        ("  stop_sigma_ratio: 20.0\n", "", "train.stop_sigma_ratio is missing"),
        ("  layer_rates: uniform\n", "", "train.layer_rates is missing"),
        ("  keep_checks: 10", "  keep_checks: 51", "gc.keep_checks is 51: input should be less than or equal to 50"),
        ("  rank: 32", "  rank: many", "train.rank is 'many'"),
        ("  rank: 32", "  rank: 32\n  rank: 64", "rank stands twice"),
        ("  rank: 32", "  rank: 9999999999999", "train.rank"),
        ("  clip: 1.0", "  clip: .inf", "train.clip"),
        ("  clip: 1.0", "  clip: .nan", "train.clip"),
        ("  rank: 32", "  rank: !!python/object:os.system x", "is not YAML"),
        ("  rank: 32", "  rank: [", "is not YAML"),
        ("base: data/bases/tiny", "base: ../elsewhere", "'..' leads out of the workspace"),
        ("  language: en\n", "  language: english\n", "ingest.language"),
        ("  log_every: 10\n", "  log_every: 7\n", "checkpoint_every must be a multiple of log_every"),
        ("  watch_every: 100\n", "  watch_every: 5\n", "watch_every must be a multiple of log_every (10)"),
        ("  watch_every: 100\n", "  watch_every: -10\n", "train.watch_every"),
        ("  stop_sigma_ratio: 20.0\n", "  stop_sigma_ratio: -1.0\n", "train.stop_sigma_ratio"),
        ("  layer_rates: uniform\n", "  layer_rates: alpa\n", "train.layer_rates is 'alpa'"),
        ("  cron: 0 2 * * *\n", "  cron: 99 2 * * *\n", "'99' is no minute of cron"),
        ("  cron: 0 2 * * *\n", "  cron: 0 2 * * MON-XYZ\n", "is no day of the week"),
        ("  cron: 0 2 * * *\n", "  cron: 0 2 * *\n", "cron takes five"),
        ("  cron: 0 2 * * *\n", "  cron: 0 0 30 2 *\n", "is never due: none of its months has a day 30"),
        ("  cron: 0 2 * * *\n", "  cron: 0 0 31 feb,4-4 1-5\n", "is never due"),
        ("  cron: 0 2 * * *\n", "  cron: 5-1 2 * * *\n", "'5-1' is no minute of cron"),
        ("  cron: 0 2 * * *\n", f"  cron: {'9' * 5000} 2 * * *\n", "is no minute of cron"),
        ("  retries: 3\n", "  retries: 100000\n", "registry.retries is 100000: "),
        ("  retry_seconds: 5.0\n", "  retry_seconds: 80000.0\n", "the last pause would be 320,000 seconds"),
        ("  retries: 5\n", "  retries: 1000000\n", "endpoint.retries"),
        ("  threads: 2\n", "  threads: 1000000\n", "train.threads"),
        ("  rank: 32\n", "  rank: 100000\n", "train.rank"),
        ("  dropout: 0.0\n", "  dropout: 1.0\n", "train.dropout"),
        ("  learning_rate: 0.004\n", "  learning_rate: 1000.0\n", "train.learning_rate"),
        ("  steps: 1600\n", "  steps: 2000000000\n", "train.steps"),
        ("  batch: 64\n", "  batch: 100000000\n", "assess.batch"),
        ("  new_tokens: 48\n", "  new_tokens: 100000000\n", "assess.new_tokens"),
        ("  poll_seconds: 5.0\n", "  poll_seconds: 0.0000001\n", "watch.poll_seconds"),
        ("  settle_seconds: 30.0\n", "  settle_seconds: 1.0e+30\n", "watch.settle_seconds"),
        ("  layers: 4\n", "  layers: 100000\n", "tiny.layers"),
        ("mlflow_uri: sqlite:///.relearn/mlflow.db", "mlflow_uri: .relearn/mlflow.db", "registry.mlflow_uri"),
        ("mlflow_uri: sqlite:///.relearn/mlflow.db", "mlflow_uri: 'ftp://u:secret@h/x'", "begins with 'ftp'"),
        ("mlflow_uri: sqlite:///.relearn/mlflow.db", "mlflow_uri: ''", "begins with ''"),
        ("mlflow_uri: sqlite:///.relearn/mlflow.db", "mlflow_uri: 'http://'", "registry.mlflow_uri"),
        ("ledger_uri: sqlite:///.relearn/ledger.db", "ledger_uri: https://ledger.example", "registry.ledger_uri"),
        ("  model: relearn\n", "  model: a/b\n", "registry.model"),
        (
            "ledger_uri: sqlite:///.relearn/ledger.db",
            "ledger_uri: 'mysql+pymysql://h/x'",
            "begins with 'mysql+pymysql'",
        ),
        (
            "  key_variable: ''",
            "  key_variable: sk-secret",
            "endpoint.key_variable: this is the name of",
        ),
        ("  timezone: UTC\n", "  timezone: Mars/Olympus\n", "is no time zone"),
        (
            "notify: []",
            "notify: [{on: [held], comand: [x]}]",
            "notify.0.comand is not a known key, did you mean command?",
        ),
        ("    alpha: shadow\n", "", "modes does not name alpha; give each enforce, shadow or off"),
        ("    alpha: shadow\n", "    alpah: shadow\n", "gates.modes.alpah"),
        ("    alpha: shadow\n", "    alpha: maybe\n", "gates.modes.alpha is 'maybe'"),
        ("    traps: shadow\n", "    traps: enforce\n", "modes enforces traps, which has no threshold"),
        ("notify: []", "notify: [{on: [helt], command: [x]}]", "notify.0.on.0 is 'helt'"),
        ("notify: []", "notify: [{on: [held]}]", "exactly one of command, webhook_variable and prefect_block"),
        ("notify: []", "notify: [{on: [held], webhook_variable: 'https://x.y/z'}]", "never what it holds"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert SHIPPED.count(old), "the shipped file no longer says that"
    (tmp_path / "params.yaml").write_text(SHIPPED.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(tmp_path / "params.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_at_least_one_check_decides(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(SHIPPED.replace(": enforce", ": shadow"), encoding="utf-8")
    with pytest.raises(InputError, match="modes lets no check decide; enforce at least one"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("word", ["off", "'off'", "OFF"])
def test_a_check_is_switched_off_as_one_writes_it(word: str, tmp_path: Path) -> None:
    """YAML 1.1 reads a bare off as false."""
    (tmp_path / "params.yaml").write_text(SHIPPED.replace("    alpha: shadow\n", f"    alpha: {word}\n"), "utf-8")
    params = load_params(tmp_path / "params.yaml")
    assert params.gates.modes["alpha"] == "off"
    (tmp_path / "params.yaml").write_text(render(params), encoding="utf-8")
    assert load_params(tmp_path / "params.yaml") == params


@pytest.mark.parametrize(
    "cron", ["*/5 0-6,22 1-31/2 jan-mar,12 MON-fri", "0 2 * * 7", "59 23 31 12 0", "0 0 29 2 *", "0 0 31 1,2 *"]
)
def test_what_cron_takes_is_taken(cron: str, tmp_path: Path) -> None:
    text = SHIPPED.replace("  cron: 0 2 * * *\n", f"  cron: '{cron}'\n")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert load_params(tmp_path / "params.yaml").watch.cron == cron


@pytest.mark.parametrize(
    "uri", ["https://mlflow.example:5000", "postgresql+psycopg://u:p@h/db", "sqlite:////srv/with space/m.db"]
)
def test_addresses_of_registries_are_taken(uri: str, tmp_path: Path) -> None:
    text = SHIPPED.replace("mlflow_uri: sqlite:///.relearn/mlflow.db", f"mlflow_uri: '{uri}'")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert load_params(tmp_path / "params.yaml").registry.mlflow_uri == uri


@pytest.mark.parametrize("name", ["mlflow_uri", "ledger_uri"])
def test_git_gets_no_password(name: str, tmp_path: Path) -> None:
    text = re.sub(rf"{name}: sqlite:\S+", f"{name}: 'postgresql+psycopg://bob:secret@h/db'", SHIPPED)
    (tmp_path / "params.yaml").write_text(text.replace("commit: false", "commit: true"), encoding="utf-8")
    with pytest.raises(InputError, match=rf"registry\.{name} holds a password.*PGPASSFILE") as caught:
        load_params(tmp_path / "params.yaml")
    assert "secret" not in str(caught.value)
    (tmp_path / "params.yaml").write_text(text.replace("commit: true", "commit: false"), encoding="utf-8")
    done = relearn("config", "show", "--workspace", str(tmp_path))
    assert done.returncode == 0
    assert "bob:***@h" in done.stdout
    assert "secret" not in done.stdout


def test_a_folder_or_bytes_in_its_place_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_params(tmp_path)
    (tmp_path / "params.yaml").write_bytes(b"base: \xff")
    with pytest.raises(InputError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")
