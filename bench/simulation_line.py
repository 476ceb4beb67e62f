"""A line of its own on which years of documents pass, with what an operator does between them.

It is a production workspace with real stages, MLflow and ledger, kept apart from whoever asks for it. What was done
is kept step by step, so that a simulation that was killed goes on; a decision that stands in the ledger already is
known by its reason and not taken twice.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.cycle_records import CycleResult, LedgerEntry
from data.errors import PersonNeededError
from data.evaluation_records import Verdict
from data.files import building, read_record, write_record, write_text
from data.params import Params, load_params
from data.params_file import render
from data.records import Record
from data.workspace import Workspace
from flows.init import make_workspace
from flows.running import promote_version, roll_back, run_cycle, withdraw_document
from flows.succession import champion_rests_on
from flows.switch import Switched
from flows.withdraw import Withdrawal
from tasks import ledger
from tasks.places import ledger_uri

OPERATOR = "simulated operator"
PASSED = "It passes every gate in force."
GONE = "The documents that are gone were taken out of the collection on that day."
TRIED = "To try the way back while nothing is wrong."


Result = CycleResult | Switched | Withdrawal | None
"""What a step gives; None: it had been done before."""


class Done(Record):
    """One step: what happened, and what serves after it."""

    name: str
    """What was done, such as ``documents of 2021-06-01``."""
    year: str
    """Name of the year whose documents hold."""
    version: int | None = None
    """The version that a cycle ended with."""
    verdict: Verdict | None = None
    trained: bool = False
    """Whether an adapter was trained for it."""
    refused: str = ""
    """Why the line would not do it."""
    serves: int | None
    rests_on: tuple[str, ...]
    """Withdrawn documents that the champion rests on after it: paths."""
    seconds: float
    """Of the whole step."""
    switch_seconds: float | None = None
    """Of a decision: from its intent until alias, data and pointer had followed; None: none was taken."""
    notes: tuple[str, ...] = ()
    """What the decision said beside."""
    entries: tuple[int, int]
    """Numbers of the ledger's first entry of this step and of the first after it."""

    @property
    def told(self) -> str:
        """One sentence without its subject."""
        parts = []
        if self.version is not None and self.verdict is not None:
            parts.append(f"version {self.version}, {self.verdict}" + ("" if self.trained else ", without training"))
        if self.refused:
            parts.append(f"refused: {self.refused}")
        parts.append(f"version {self.serves} serves" if self.serves is not None else "nothing serves")
        if self.rests_on:
            parts.append(f"it rests on {', '.join(self.rests_on)}, withdrawn")
        return f"{'; '.join(parts)} ({self.seconds:.1f} s). {' '.join(self.notes)}".rstrip()


@dataclass(frozen=True)
class Line:
    """The workspace under simulation, and where its steps are kept."""

    workspace: Workspace
    steps: Path
    quick: bool

    def step(self, number: int, name: str, year: str, act: Callable[[], Result]) -> Done:
        """Do something, unless it was done before; what the line refuses is a result, too.

        Raises:
            OutsideError: MLflow, the ledger or the disk is out of reach; the same simulation goes on from here.
        """
        file = self.steps / f"{number:02}.json"
        if file.is_file():
            return read_record(file, Done)
        first, begun, refused = len(self.entries()) + 1, time.monotonic(), ""
        result: Result = None
        try:
            result = act()
        except PersonNeededError as error:
            refused = str(error)
        state = ledger.state(self.uri)
        cycle = result if isinstance(result, CycleResult) else None
        decision = result if isinstance(result, Switched | Withdrawal) else None
        done = Done(
            name=name,
            year=year,
            version=cycle.version if cycle else None,
            verdict=cycle.verdict if cycle else None,
            trained=bool(cycle and cycle.changed and cycle.seconds.get("train")),
            refused=refused,
            serves=state.version,
            rests_on=tuple(one.path for one in champion_rests_on(self.workspace, state)),
            seconds=round(time.monotonic() - begun, 2),
            switch_seconds=decision.seconds if decision else None,
            notes=decision.notes if decision else (),
            entries=(first, len(self.entries()) + 1),
        )
        write_record(file, done)
        return done

    @property
    def uri(self) -> str:
        return ledger_uri(self.workspace)

    def entries(self) -> list[LedgerEntry]:
        return ledger.entries(self.uri)

    # --- what an operator does -----------------------------------------------------------------------

    def documents(self, folder: Path) -> CycleResult:
        """Other documents arrive, however many are gone; a cycle runs, and what passes is promoted."""
        with building(self.workspace.documents) as draft:
            shutil.copytree(folder, draft, dirs_exist_ok=True)
        try:
            return self.cycle()
        except PersonNeededError:
            return self.cycle(GONE)

    def cycle(self, loss_reason: str | None = None) -> CycleResult:
        """A cycle, and what passes serves; what is held or rejected is left as it is."""
        result = run_cycle(self.workspace.root, self.quick, loss_reason)
        if result.verdict is Verdict.PROMOTE and ledger.state(self.uri).version != result.version:
            promote_version(self.workspace.root, result.version, PASSED, override=False)
        return result

    def rollback(self, reason: str) -> Switched | None:
        """Back to the newest version that may serve instead; None: it was done before."""
        return None if self._stands(reason) else roll_back(self.workspace.root, reason, None, override=False)

    def promote(self, version: int, reason: str) -> Switched:
        """Let a version serve."""
        return promote_version(self.workspace.root, version, reason, override=False)

    def withdraw(self, path: str, reason: str, back: bool = False) -> Withdrawal | None:
        """Withdraw a document, or reinstate it (``back``); None: it was reinstated before."""
        if back and self._stands(reason):
            return None
        return withdraw_document(self.workspace.root, path, reason, back=back)  # again: does what a kill left undone

    def _stands(self, reason: str) -> bool:
        return any(entry.reason == reason and entry.action != "intend" for entry in self.entries())


def make_line(root: Path, params: Params, base: Path, probes: Path, quick: bool) -> Line:
    """The line at ``root`` with these settings and people's questions, made where it is not there.

    Decisions, versions and news stay within it: it has databases of its own, no remote and no hooks.

    Raises:
        OutsideError: git, DVC or the disk refuses.
    """
    place = (root / "line").resolve()
    workspace = Workspace(place) if (place / "params.yaml").is_file() else make_workspace(place, str(base))
    write_text(workspace.params_file, render(_own(params, load_params(workspace.params_file))))
    if probes.is_dir():
        shutil.copytree(probes, workspace.probes, dirs_exist_ok=True)
    return Line(workspace, root / "steps", quick)


def _own(params: Params, made: Params) -> Params:
    """Settings as given, but for the base and for all that says where the line keeps things, and whom it tells."""
    kept = params.registry.model_dump(include={"bring_back", "on_withdrawal", "on_gates"})
    return params.model_copy(
        update={
            "base": made.base,
            "registry": made.registry.model_copy(update=kept | {"promote_first": False}),
            "people": made.people.model_copy(update={"actor": OPERATOR}),
            "versioning": made.versioning.model_copy(update={"push": False}),
            "watch": made.watch,
            "notify": [],
        }
    )
