"""A line with three registered versions beside its base, judged by the shipped gates on reports that are made up."""

from pathlib import Path

import pytest

from data.files import digest_text, digest_tree, write_record
from data.records import Cohort
from data.workspace import Workspace
from flows.enrol import enrol, enrol_base
from models.gates import judge
from tasks.candidate import Decision, collect
from tests.judgements import BASE_SERVES, cohort, evaluation, spectral, synthesis
from tests.registry_miniature import base_digest, run_stages
from tests.spectral_miniature import layer

RIGHT = {2: 398, 3: 380, 4: 368}
"""Of 400 questions about new facts, by version: beyond doubt, enough for 90 %, and too close to tell."""


def make_line(workspace: Workspace, weights: Path) -> Workspace:
    """Base and versions in MLflow, their evidence beside them and their verdicts in the ledger."""
    enrol_base(workspace, workspace.base(), base_digest(workspace))
    for version, right in RIGHT.items():
        assert enrolled(workspace, weights, f"day {version}", right) == version
    return workspace


def enrolled(workspace: Workspace, weights: Path, day: str, right: int) -> int:
    """Judge and register one day's candidate."""
    run_stages(workspace, weights, day)
    own = {"base": base_digest(workspace)}
    by_adapter = {**own, "adapter": digest_tree(workspace.adapter)}
    measured = evaluation(cohort(Cohort.NEW, 400, 8, right, dated=100)).model_copy(update=by_adapter)
    spectra = spectral(layer()).model_copy(update=by_adapter)
    written = synthesis().model_copy(update={**own, "rows_digest": digest_text(day)})
    champion = BASE_SERVES.model_copy(update={"candidate": by_adapter["adapter"]})
    for place, report in (
        (workspace.evaluation, measured), (workspace.spectral, spectra), (workspace.synthetic, written),
    ):  # fmt: skip
        write_record(place / "report.json", report)
    judgement = judge(spectra, measured, written, workspace.params().gates, handbook_expected=False, champion=champion)
    decision = Decision(judgement=judgement, champion=champion)
    made = collect(workspace, decision, base_digest=base_digest(workspace), code_digest="code")
    with pytest.MonkeyPatch.context() as patch:  # nobody loads the model
        patch.setattr("tasks.registry.log_pyfunc", lambda _, __, run, *rest: (run.info.artifact_uri, None))
        return enrol(workspace, made, day)
