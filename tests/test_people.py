"""Who may decide what, how many it takes, and what becomes of two who decide at once."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from data.decisions import SWITCHES, Action
from data.errors import InputError, PersonNeededError
from data.files import write_text
from data.workspace import Workspace
from flows.cli import app
from flows.promote import promote, promote_by_line
from flows.reject import reject
from flows.rollback import rollback
from flows.running import run_cycle
from flows.succession import settle
from flows.withdraw import reinstate, withdraw
from tasks import ledger, registry, serving
from tasks.places import ledger_uri
from tests import line_miniature as line
from tests.fault_miniature import FORKS, copied
from tests.line_miniature import Step

SERVES, PASSES, HELD, ALSO = 2, 3, 4, 5
ROLES = {"vera": "viewer", "omar": "operator", "ann": "approver", "bob": "approver"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    return line.make_template(tmp_path_factory.mktemp("people") / "line", weights).root


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    """A line on which version 2 serves and version 3 passes."""
    return copied(template, tmp_path / "line")


def people(workspace: Workspace, **settings: object) -> None:
    params = yaml.safe_load(workspace.params_file.read_text())
    params["people"] |= settings
    write_text(workspace.params_file, yaml.safe_dump(params))


def champion(workspace: Workspace) -> int | None:
    return ledger.state(ledger_uri(workspace)).version


def test_a_role_may_what_it_may_and_the_refusal_names_who_could(workspace: Workspace) -> None:
    people(workspace, roles=ROLES, others="viewer")
    for actor in ("vera", "omar", "a stranger"):
        with pytest.raises(PersonNeededError, match=r"takes the role approver.*Ask one who has it: ann, bob"):
            promote(workspace, PASSES, "I like it", actor=actor)
    with pytest.raises(PersonNeededError, match="takes the role operator, and vera is a viewer"):
        rollback(workspace, "I do not like it", actor="vera")
    with pytest.raises(PersonNeededError, match="An override takes the role approver"):
        rollback(workspace, "that one", HELD, actor="omar", override=True)
    with pytest.raises(PersonNeededError, match="A withdrawal takes"):
        withdraw(workspace, "fees.md", "no longer", actor="vera")
    with pytest.raises(PersonNeededError, match="A rejection takes"):
        reject(workspace, PASSES, "no", actor="vera")
    with pytest.raises(PersonNeededError, match="A cycle takes the role operator"):
        run_cycle(workspace.root, quick=False, loss_reason=None)
    assert champion(workspace) == SERVES
    assert promote(workspace, PASSES, "checked", actor="ann").actor == "ann"
    assert rollback(workspace, "it was wrong", actor="omar").actor == "omar"
    withdraw(workspace, "fees.md", "no longer", actor="omar")
    with pytest.raises(PersonNeededError, match="A reinstatement takes the role approver"):
        reinstate(workspace, "fees.md", "again", actor="omar")
    assert reinstate(workspace, "fees.md", "again", actor="bob").actor == "bob"


def test_an_actor_is_named_by_the_environment_then_the_settings(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(workspace, actor="nightly")
    monkeypatch.delenv("RELEARN_ACTOR", raising=False)
    assert promote(workspace, PASSES, "x").actor == "nightly"
    monkeypatch.setenv("RELEARN_ACTOR", "ann")
    assert promote(workspace, SERVES, "y").actor == "ann"


def test_two_people_are_two_different_people(workspace: Workspace, weights: Path) -> None:
    people(workspace, roles=ROLES, approvals=2)
    for _ in range(2):
        with pytest.raises(PersonNeededError, match="approved by ann; 1 more approver must agree"):
            promote(workspace, PASSES, "I checked it", actor="ann")
    assert champion(workspace) == SERVES
    done = promote(workspace, PASSES, "so did I", actor="bob")
    assert (done.from_version, done.to_version) == (SERVES, PASSES)
    entry = ledger.state(ledger_uri(workspace)).champion
    assert entry is not None
    assert entry.evidence["approvers"] == ["ann", "bob"]
    with pytest.raises(PersonNeededError, match="1 more approver"):
        promote(workspace, ALSO, "this one, too", actor="bob")
    reject(workspace, ALSO, "on second thoughts", actor="omar")
    with pytest.raises(PersonNeededError, match="was rejected by omar"):
        promote(workspace, ALSO, "now me", actor="ann")


def test_where_it_takes_two_the_line_promotes_nothing_by_itself(workspace: Workspace) -> None:
    people(workspace, approvals=2)
    assert promote_by_line(workspace, PASSES, "by itself") is None
    assert settle(workspace, PASSES) is None
    assert rollback(workspace, "it is wrong").to_version == 1, "nothing else ever served"


def test_the_barrier_names_the_verdict_and_an_override_is_marked_while_it_serves(workspace: Workspace) -> None:
    with pytest.raises(PersonNeededError, match=r"verdict of version 4 .* is hold"):
        rollback(workspace, "that one", HELD)
    page = workspace.reports / f"v{HELD}.html"
    write_text(page, '<p><span id="serving">Version 2 serves now.</span></p>')
    promote(workspace, HELD, "it <b>answers</b> what we ask", actor="ann", override=True)
    assert "It serves now, against its verdict (hold): overridden by ann" in page.read_text()
    assert "<b>" not in page.read_text()
    shown = CliRunner().invoke(app, ["status", "--workspace", str(workspace.root), "--json"])
    assert json.loads(shown.stdout)["champion"]["overridden"]
    promote(workspace, SERVES, "enough", actor="ann")
    assert "against" not in page.read_text()
    reject(workspace, PASSES, "it mixes up two plans", actor="omar")
    with pytest.raises(PersonNeededError, match="rejected by omar"):
        promote(workspace, PASSES, "and yet")
    assert registry.get_alias(workspace, registry.CHALLENGER) == ALSO


def test_a_version_that_rests_on_a_withdrawn_document_is_refused_and_says_so(workspace: Workspace) -> None:
    withdraw(workspace, "hours.md", "no longer", actor="omar")
    with pytest.raises(PersonNeededError, match=r"rests on hours\.md, which omar withdrew"):
        promote(workspace, PASSES, "it passed")
    with pytest.raises(PersonNeededError, match=r"rests on hours\.md"):
        rollback(workspace, "that one", ALSO)
    assert promote(workspace, PASSES, "all the same", override=True).to_version == PASSES
    assert rollback(workspace, "now back").to_version == SERVES


def test_a_version_that_was_rolled_back_from_is_not_rolled_back_to(workspace: Workspace) -> None:
    promote(workspace, ALSO, "newer")
    assert [rollback(workspace, "wrong").to_version for _ in range(3)] == [PASSES, SERVES, 1]
    with pytest.raises(PersonNeededError, match="No version may take the place of version 1"):
        rollback(workspace, "wrong")


def test_a_rollback_is_quick_and_answers_bit_by_bit_as_before(workspace: Workspace) -> None:
    before = serving.ask(workspace, "Who may approve it?")
    promote(workspace, PASSES, "newer")
    done = rollback(workspace, "wrong", SERVES)
    assert done.notes == ()
    assert serving.ask(workspace, "Who may approve it?") == before
    first, _, last = (
        one for one in ledger.entries(ledger_uri(workspace)) if one.action in SWITCHES and one.to_version != 1
    )
    assert last.action == Action.ROLLBACK
    assert last.evidence["probe"] == first.evidence["probe"]


def test_of_two_who_decide_at_once_one_wins_and_the_other_is_told_who_and_why(
    workspace: Workspace, weights: Path, tmp_path: Path
) -> None:
    both = [
        FORKS.Process(target=_decide, args=(workspace, version, name, tmp_path / name))
        for version, name in ((PASSES, "ann"), (ALSO, "bob"))
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    said = {name: (tmp_path / name).read_text() for name in ("ann", "bob")}
    lost = [name for name, text in said.items() if text.startswith("PersonNeededError")]
    switches = [one for one in ledger.entries(ledger_uri(workspace)) if one.action in SWITCHES]
    if lost:
        winner = "ann" if lost == ["bob"] else "bob"
        assert f"{winner} at " in said[lost[0]]
        assert f"because {winner} says so" in said[lost[0]]
        assert switches[-1].actor == winner
    else:  # one was done before the other began
        assert {one.actor for one in switches[-2:]} == {"ann", "bob"}
    line.assert_sound(workspace)
    with pytest.raises(InputError, match="--reason"):
        promote(workspace, PASSES, " ")
    assert line.do(workspace, weights, Step("promote", (PASSES - 1, False))) is None


def _decide(workspace: Workspace, version: int, name: str, file: Path) -> None:
    try:
        promote(workspace, version, f"because {name} says so", actor=name)
        write_text(file, "done")
    except PersonNeededError as error:
        write_text(file, f"PersonNeededError {error}")
