"""A secret of its own stands wherever the product takes secrets from; afterwards it is found nowhere else.

Every command is a program of its own, MLflow and the teacher are real servers that are spoken to with passwords, and
what is looked through is every byte of the workspace, of MLflow's server and of what the commands said.
"""

import base64
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from data.workspace import Workspace
from tests.fault_miniature import copied, turn
from tests.local_server import dead_port, served
from tests.miniature import NEW, write_documents
from tests.mlflow_server import mlflow_server
from tests.office_miniature import word_file
from tests.postgres_server import new_database
from tests.programs import relearn
from tests.teacher_server import Teacher, teaching
from tests.test_notify import Taker

TOKEN = "gh" + "p_" + "Rw7Kd2Lq9Zx4Vb6Nm1Tc8Yh3Jf5Gs0PaQeUi"
"""Put together here, so that no file of the repository holds one; a detector knows its format."""
OFFICE_TOKEN = "gh" + "p_" + "Bv3Nc8Xk1Zq6Wm4Lp9Rt2Ys7Hd5Jf0GuAoEi"
SECRETS = {
    "endpoint.key_variable": "teacherkey-5d81c3",
    "webhook": "webhookpath-93ab77",
    "webhook out of reach": "webhookquery-20fe41",
    "MLFLOW_TRACKING_PASSWORD": "mlflowenv-6c1d09",
    "PGPASSWORD": "pgenv-81b2f6",
    "PGPASSFILE": "pgfile-4e77ad",
    "endpoint.url": "teacherurl-ab1290",
    "registry.mlflow_uri": "mlflowurl-77cc02",
    "registry.mlflow_uri out of reach": "mlflowgone-15d3e8",
    "registry.ledger_uri": "ledgerurl-5af0b8",
    "registry.ledger_uri out of reach": "ledgergone-39af64",
    "document": TOKEN,
    "office document": OFFICE_TOKEN,
}
WHERE_PEOPLE_PUT_IT = ("params.yaml", "data/documents/")
PLACES = (
    "data/collection/texts.jsonl", "data/synthetic/rows.jsonl", "data/metrics/", "dvc.lock", ".dvc/cache/", ".git/",
    ".relearn/prefect/prefect.db", ".relearn/evidence/v3/params.json", ".relearn/reports/v3.html",
    ".relearn/gx/", ".relearn/cache/teacher/endpoint/", "exported.jsonl", "mlflow/mlflow.db", "mlflow/artifacts/",
    "mlflow/log",
)  # fmt: skip
"""That are among what is looked through."""
PROSE = """# Lending rules

Every member of the house may borrow up to six books at a time from the main hall.
The porter keeps a list of all books that members have taken home.
"""


@dataclass
class Deployment:
    """A line and all that it says."""

    workspace: Workspace
    servers: Path
    """Folder of MLflow's server."""
    said: list[bytes] = field(default_factory=list)

    def call(self, *arguments: str, code: int | None = None) -> None:
        done = relearn(*arguments, workspace=self.workspace)
        said = done.stdout + done.stderr
        self.said.append(said.encode())
        assert code in (None, done.returncode), f"relearn {' '.join(arguments)} ended with {done.returncode}: {said}"

    def places(self) -> Iterator[tuple[str, bytes]]:
        """All that is looked through, by name."""
        for number, said in enumerate(self.said):
            yield f"output {number}", said
        for root in (self.workspace.root, self.servers):
            for file in sorted(root.rglob("*")):
                name = file.relative_to(root).as_posix()
                if file.is_file() and not name.startswith(WHERE_PEOPLE_PUT_IT):
                    yield f"{root.name}/{name}", file.read_bytes()


def shapes(secret: str) -> set[bytes]:
    """As it may stand somewhere: as it is, in an address, or in the header that sends it."""
    headers = [base64.b64encode(f"robot:{secret}".encode()), base64.b64encode(secret.encode())]
    return {secret.encode(), urllib.parse.quote(secret, safe="").encode(), *headers}


def found(deployment: Deployment) -> list[tuple[str, str]]:
    """(which secret, where) of every secret that is somewhere."""
    wanted = {name: shapes(secret) for name, secret in SECRETS.items()}
    return [
        (name, place)
        for place, content in deployment.places()
        for name, forms in wanted.items()
        if any(form in content for form in forms)
    ]


@contextmanager
def addressed(deployment: Deployment, **registry: str) -> Iterator[None]:
    """For a while the registry's databases are elsewhere."""
    before = deployment.workspace.params_file.read_bytes()
    turn(deployment.workspace, registry={**registry, "retries": 0})
    yield
    deployment.workspace.params_file.write_bytes(before)


def with_password(address: str, secret: str) -> str:
    return address.replace("://", f"://robot:{SECRETS[secret]}@")


def prepare(workspace: Workspace, teacher: str, registry: dict[str, str]) -> None:
    """Documents, of which two hold a secret, and settings that name where the others are."""
    write_documents(
        workspace.documents, {**NEW, "lending.md": PROSE, "access.md": f"# Access\n\nUse {TOKEN} for it.\n"}
    )
    (workspace.documents / "access.docx").write_bytes(word_file([["Access", OFFICE_TOKEN]]))
    turn(
        workspace,
        ingest={"max_quarantined_share": 0.5},
        synthesize={"teacher": "endpoint", "recipes": ["facts", "questions"]},
        endpoint={"url": teacher, "model": "m", "key_variable": "TEACHER_KEY", "retries": 0},
        registry=registry,
    )
    hooks = [
        {"on": ["held", "rejected", "promoted", "failed"], "webhook_variable": name}
        for name in ("RELEARN_WEBHOOK", "RELEARN_WEBHOOK_GONE")
    ]
    params = yaml.safe_load(workspace.params_file.read_text())
    workspace.params_file.write_text(yaml.safe_dump({**params, "notify": hooks}))


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def deployed(
    request: pytest.FixtureRequest, lenient: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Two cycles, decisions, looks at all of it, and everything that can refuse."""
    place = tmp_path_factory.mktemp("planted")
    deployment = Deployment(copied(lenient, place / "workspace"), place / "mlflow")
    (place / "pgpass").write_text(f"*:*:*:*:{SECRETS['PGPASSFILE']}\n")
    (place / "pgpass").chmod(0o600)
    registry = {}
    if request.param == "postgresql":
        database = sa.make_url(new_database(request.getfixturevalue("postgresql")))
        ledger = database.set(password=SECRETS["registry.ledger_uri"])
        registry["ledger_uri"] = ledger.render_as_string(hide_password=False)
    teacher, taken = Teacher(behave=lambda number, body: "401"), list[Any]()
    with (
        pytest.MonkeyPatch.context() as patch,
        teaching(teacher),
        served(Taker, taken=taken) as hook,
        dead_port() as dead,
        mlflow_server(deployment.servers) as mlflow,
    ):
        patch.setenv("TEACHER_KEY", SECRETS["endpoint.key_variable"])
        patch.setenv("MLFLOW_TRACKING_USERNAME", "robot")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_TRACKING_PASSWORD"])
        patch.setenv("PGPASSWORD", SECRETS["PGPASSWORD"])
        patch.setenv("PGPASSFILE", str(place / "pgpass"))
        patch.setenv("RELEARN_WEBHOOK", f"{hook}/{SECRETS['webhook']}")
        patch.setenv("RELEARN_WEBHOOK_GONE", f"http://127.0.0.1:{dead}/?key={SECRETS['webhook out of reach']}")
        registry["mlflow_uri"] = with_password(mlflow, "registry.mlflow_uri")
        prepare(deployment.workspace, teacher.url, registry)
        deployment.call("run", "--quick", code=2)  # the teacher does not take the key
        turn(deployment.workspace, endpoint={"url": with_password(teacher.url, "endpoint.url")})
        deployment.call("run", "--quick", code=2)  # nor the password
        assert {key.split()[0] for key in teacher.keys} == {"Bearer", "Basic"}
        teacher.behave = lambda number, body: "good"
        deployment.call("run", "--quick", code=0)
        (deployment.workspace.documents / "more.md").write_text("# More\n\nYou must pay within 30 days of the bill.\n")
        deployment.call("run", "--quick", code=0)
        decide_and_look(deployment)
        refused(deployment, f"127.0.0.1:{dead}")
        assert taken, "the webhook was told"
        yield deployment


def decide_and_look(deployment: Deployment) -> None:
    deployment.call("promote", "3", "--reason", "wanted", code=0)
    deployment.call("rollback", "--reason", "unwell", code=0)
    export = deployment.workspace.root / "exported.jsonl"
    for arguments in (
        ("history", "--export", str(export)),
        ("history", "--verify", "--json"),
        ("report", "3"),
        ("config", "show"),
        ("config", "check"),
        ("gates", "diff"),
        ("impact", "fees.md"),
        ("ask", "What is the Fee of Basic?"),
        ("diff",),
        ("gc", "--dry-run"),
    ):
        deployment.call(*arguments, code=0)
    assert export.stat().st_size
    deployment.call("status", code=0)
    deployment.call("doctor", code=0)
    deployment.call("notify", "test", code=1)


def refused(deployment: Deployment, dead: str) -> None:
    """Servers that do not answer are named without their passwords."""
    ledger = f"postgresql+psycopg://robot:{SECRETS['registry.ledger_uri out of reach']}@{dead}/ledger"
    gone = f"http://robot:{SECRETS['registry.mlflow_uri out of reach']}@{dead}"
    (deployment.workspace.documents / "later.md").write_text("# Later\n\nYou must knock within 3 days.\n")
    for settings in ({"ledger_uri": ledger}, {"mlflow_uri": gone}):
        with addressed(deployment, **settings):
            deployment.call("run", "--quick", code=1)
            deployment.call("promote", "3", "--reason", "again", code=1)
            deployment.call("doctor", code=1)
            deployment.call("config", "show", code=0)
            deployment.call("status")


def test_a_planted_secret_is_found_nowhere_but_where_people_put_it(deployed: Deployment) -> None:
    assert found(deployed) == []


def test_what_was_looked_through_speaks_of_all_of_it(deployed: Deployment) -> None:
    said = b"".join(deployed.said)
    assert said.count(b"failure 401 on demand, with B") >= 2
    for masked in (b"postgresql+psycopg://robot:***@", b"http://robot:***@", b"The hook webhook RELEARN_WEBHOOK_GONE"):
        assert masked in said
    names = [name for name, _ in deployed.places()]
    ledger = [".relearn/ledger.db"] if "sqlite" in deployed.workspace.params().registry.ledger_uri else []
    for part in (*PLACES, *ledger):
        assert any(part in name for name in names), part


def test_a_secret_is_found_in_each_of_its_shapes(deployed: Deployment) -> None:
    """Else nothing would be found because nothing can be."""
    for shape in shapes(SECRETS["endpoint.url"]):
        seen = Deployment(deployed.workspace, deployed.servers, [b"with Basic " + shape])
        assert found(seen) == [("endpoint.url", "output 0")]
