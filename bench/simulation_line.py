"""A line of its own on which years of documents pass, with what an operator does between them.

It is a production workspace with real stages, MLflow and ledger, kept apart from whoever asks for it. What was done
is kept step by step, so that a simulation that was killed goes on; a decision that stands in the ledger already is
known by what it was and why, and not taken twice.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.cycle_records import CycleResult, LedgerEntry
from data.decisions import Action
from data.errors import PersonNeededError
from data.evaluation_records import Verdict
from data.files import building, read_record, write_record, write_text
from data.params import Params, load_params
from data.params_file import render
from data.records import Record
from data.workspace import Workspace
from flows.init import make_workspace
from flows.recovery import recover
from flows.running import locked, promote_version, roll_back, run_cycle, withdraw_document
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


class _Begun(Record):
    """A step under way; one that is begun again had been killed."""

    first: int
    """Number of its first entry in the ledger."""


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
    """Of the whole step; where a kill fell into it, of what was left."""
    resumed: bool = False
    """Whether a kill fell into it."""
    switch_seconds: float | None = None
    """Of a decision: from its intent until alias, data and pointer had followed; None: none was taken or timed."""
    as_before: bool | None = None
    """Whether the version that serves now answers bit by bit as when it last began to; None: it never had, or no
    other began to serve."""
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
        if self.as_before is not None:
            parts.append("it answers bit by bit as before" if self.as_before else "it answers otherwise than before")
        if self.rests_on:
            parts.append(f"it rests on {', '.join(self.rests_on)}, withdrawn")
        killed = ", of what a kill had left" if self.resumed else ""
        return f"{'; '.join(parts)} ({self.seconds:.1f} s{killed}). {' '.join(self.notes)}".rstrip()


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
        first, resumed = self._begin(file.with_suffix(".begun"))
        begun, refused = time.monotonic(), ""
        result: Result = None
        try:
            result = act()
        except PersonNeededError as error:
            refused = str(error)
        state = ledger.state(self.uri)
        cycle = result if isinstance(result, CycleResult) else None
        decision = result if isinstance(result, Switched | Withdrawal) else None
        entries = self.entries()
        done = Done(
            name=name,
            year=year,
            version=cycle.version if cycle else None,
            verdict=cycle.verdict if cycle else None,
            trained=cycle is not None and _is_judged(entries[first - 1 :], cycle.version),
            refused=refused,
            serves=state.version,
            rests_on=tuple(one.path for one in champion_rests_on(self.workspace, state)),
            seconds=round(time.monotonic() - begun, 2),
            resumed=resumed,
            switch_seconds=decision.seconds if decision else None,
            as_before=_as_before(entries, first),
            notes=decision.notes if decision else (),
            entries=(first, len(entries) + 1),
        )
        write_record(file, done)
        return done

    def _begin(self, file: Path) -> tuple[int, bool]:
        """The number of a step's first entry, and whether it was begun before; a switch that was cut off is ended."""
        if file.is_file():
            with locked(self.workspace, "a simulation"):
                recover(self.workspace)
            return read_record(file, _Begun).first, True
        first = len(self.entries()) + 1
        write_record(file, _Begun(first=first))
        return first, False

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
        if self._stands(Action.ROLLBACK, reason):
            return None
        return roll_back(self.workspace.root, reason, None, override=False)

    def promote(self, version: int, reason: str) -> Switched | None:
        """Let a version serve; None: it was done before."""
        if self._stands(Action.PROMOTE, reason):
            return None
        return promote_version(self.workspace.root, version, reason, override=False)

    def withdraw(self, path: str, reason: str) -> Withdrawal | None:
        """Withdraw a document; None: it stood there before, and what a kill had left of it is done."""
        stands = self._stands(Action.WITHDRAW, reason)
        done = withdraw_document(self.workspace.root, path, reason)
        return None if stands else done

    def reinstate(self, path: str, reason: str) -> Withdrawal | None:
        """Let a withdrawn document be learned again; None: it was done before."""
        if self._stands(Action.REINSTATE, reason):
            return None
        return withdraw_document(self.workspace.root, path, reason, back=True)

    def _stands(self, action: Action, reason: str) -> bool:
        return any((entry.action, entry.reason) == (action, reason) for entry in self.entries())


def _is_judged(entries: Sequence[LedgerEntry], version: int) -> bool:
    """Whether a version was registered by these entries, so that it was trained for them."""
    return any((entry.action, entry.to_version) == (Action.JUDGE, version) for entry in entries)


def _as_before(entries: Sequence[LedgerEntry], first: int) -> bool | None:
    """Whether the last switch since ``first`` led to the answers of the one before it to the same version."""
    probed = [entry for entry in entries if "probe" in entry.evidence]
    if not probed or probed[-1].number < first:
        return None
    before = [entry for entry in probed[:-1] if entry.to_version == probed[-1].to_version]
    return before[-1].evidence["probe"]["digest"] == probed[-1].evidence["probe"]["digest"] if before else None


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
