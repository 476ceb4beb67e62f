"""The boundary to Great Expectations: suites and columns in, failing rows out, Data Docs on the side.

The project lives in the workspace's state folder and can be deleted at any time: suites are declared
in data/expectations.py and written anew by each run, so that a changed threshold takes effect, and the
results kept are for people to read. Decisions rest on the results of the checkpoint alone.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data.errors import InputError, OutsideError, PersonNeededError
from data.expectations import (
    CollectionShares,
    Columns,
    DocumentCheck,
    Expectation,
    RowContext,
    collection_columns,
    collection_suite,
    document_columns,
    document_reason,
    document_suite,
    row_columns,
    row_suite,
)
from data.param_operation import MOST_CHECKS
from data.param_stages import IngestParams
from data.records import Quarantined, Row
from data.workspace import Workspace

if TYPE_CHECKING:
    from great_expectations import Checkpoint
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.file_data_context import FileDataContext
    from great_expectations.datasource.fluent.pandas_datasource import PandasDatasource

Failures = Mapping[str, frozenset[int]]
"""Rule -> numbers of the rows that broke it; rules that held are absent."""

SOURCE = "relearn"
RESULTS = ("validations", "data_docs/local_site/validations")
"""Where results lie, below the project's own folder: as JSON and as pages."""


def data_docs_index(workspace: Workspace) -> Path:
    """The page that lists every suite and every result."""
    return _project(workspace) / "uncommitted" / "data_docs" / "local_site" / "index.html"


def check_documents(
    workspace: Workspace, checks: Sequence[DocumentCheck], params: IngestParams
) -> tuple[Quarantined, ...]:
    """Documents to set aside, in the order given, each with every reason."""
    if not checks:
        return ()
    suite = document_suite(params)
    failures = _validate(workspace, "documents", suite, document_columns(checks, params), ["number", "path"])
    quarantined = []
    for number, check in enumerate(checks):
        rules = [rule for rule, numbers in failures.items() if number in numbers]
        reasons = tuple(document_reason(rule, check, params) for rule in rules)
        if reasons:
            quarantined.append(Quarantined(path=check.path, digest=check.digest, reasons=reasons))
    return tuple(quarantined)


def check_collection(
    workspace: Workspace, shares: CollectionShares, params: IngestParams, loss_accepted: bool
) -> tuple[tuple[str, ...], bool]:
    """Whether the line may go on with what is left.

    Returns:
        Warnings, one sentence each, and whether a loss went through only because a person accepted it.

    Raises:
        InputError: no usable document, or too large a share quarantined.
        PersonNeededError: too large a share of the last accepted snapshot is gone.
    """
    suite = collection_suite(params, loss_accepted)
    failures = _validate(workspace, "collection", suite, collection_columns(shares), ["number"])
    _refuse_unusable(workspace, shares, params, failures)
    warnings = []
    # With a limit of 0 a loss of nothing stands at the limit too; nothing is no loss.
    at_limit = "lost" in failures and shares.lost > 0
    if at_limit:
        gone = f"{shares.lost} of {shares.accepted} documents of the last accepted snapshot are gone"
        if not loss_accepted:
            raise PersonNeededError(
                f"{gone}; from {params.max_lost_share:.0%} on (ingest.max_lost_share) a person has to agree. "
                'Put them back, or accept the loss with `relearn run --accept-loss --reason "..."`.'
            )
        warnings.append(f"{gone}; the loss was accepted.")
    if "changed" in failures:
        warnings.append(
            f"{shares.changed} of {shares.accepted} documents of the last accepted snapshot have other "
            f"content, more than {params.max_changed_share:.0%} (ingest.max_changed_share)."
        )
    return tuple(warnings), at_limit


def _refuse_unusable(workspace: Workspace, shares: CollectionShares, params: IngestParams, failures: Failures) -> None:
    reasons = f"The reasons stand in {data_docs_index(workspace)}."
    if "documents" in failures:
        raise InputError(
            f"{workspace.documents} holds no usable document ({shares.found} found, {shares.quarantined} "
            f"quarantined). Put at least one Markdown, text or HTML file there. {reasons}"
        )
    if "quarantined" in failures:
        raise InputError(
            f"{shares.quarantined} of {shares.found} documents are quarantined, more than "
            f"{params.max_quarantined_share:.0%} (ingest.max_quarantined_share). Mend or remove them. "
            f"{reasons}"
        )


def broken_rows(workspace: Workspace, rows: Sequence[Row], context: RowContext) -> dict[int, str]:
    """Number of each row to drop -> the first rule that it broke, in the order of the rules."""
    if not rows:
        return {}
    suite = row_suite(context.max_length)
    failures = _validate(workspace, "rows", suite, row_columns(rows, context), ["number", "wording"])
    broken: dict[int, str] = {}
    for rule, numbers in failures.items():
        broken |= dict.fromkeys(sorted(numbers - broken.keys()), rule)
    return broken


# --- Great Expectations ----------------------------------------------------------------------------


def _validate(
    workspace: Workspace, name: str, suite: Sequence[Expectation], columns: Columns, identity: list[str]
) -> Failures:
    """Run one suite over one frame; ``identity`` names the columns by which Data Docs call a row.

    Raises:
        OutsideError: the disk refused the results, or an expectation could not be evaluated.
    """
    load_expectations()

    def run() -> "ExpectationSuiteValidationResult":
        return _run(_open_project(workspace), name, suite, columns, identity)

    try:
        result = _run_or_remake(workspace, run)
    except OSError as error:
        raise OutsideError(
            f"The check of the {name} could not write below {workspace.data_docs} ({error}). Free the disk "
            "or mend the permissions, then run the same command again."
        ) from error
    return _failures(result, suite)


def _run_or_remake(
    workspace: Workspace, run: "Callable[[], ExpectationSuiteValidationResult]"
) -> "ExpectationSuiteValidationResult":
    """Run; where the project cannot be read, make it anew and run again.

    A run killed while Great Expectations wrote leaves files that fail in any of its parsers. None is an
    original. What fails in a new project too is a defect and is raised.
    """
    try:
        return run()
    except OSError:
        raise
    except Exception:
        shutil.rmtree(workspace.data_docs, ignore_errors=True)
        return run()


def load_expectations() -> None:
    """Import Great Expectations without its telemetry, which takes seconds."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations  # noqa: F401


def _project(workspace: Workspace) -> Path:
    return workspace.data_docs / "gx"


def _open_project(workspace: Workspace) -> "FileDataContext":
    """The workspace's project; made on the first call, and quiet ever after."""
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    from tasks.data_docs import with_views

    made = (_project(workspace) / "great_expectations.yml").is_file()
    workspace.data_docs.mkdir(parents=True, exist_ok=True)
    project = great_expectations.get_context(mode="file", project_root_dir=workspace.data_docs)
    sites = project.variables.data_docs_sites or {}
    sites["local_site"] = with_views(sites["local_site"]) | {"show_how_to_buttons": False}
    project.variables.data_docs_sites = sites
    if not made:
        project.variables.progress_bars = ProgressBarsConfig(globally=False)
        project.enable_analytics(False)
    return project


def _run(
    project: "FileDataContext", name: str, suite: Sequence[Expectation], columns: Columns, identity: list[str]
) -> "ExpectationSuiteValidationResult":
    import pandas

    _forget_old_runs(Path(project.root_directory), name)
    checkpoint = _checkpoint(project, name, suite, identity)
    outcome = checkpoint.run(batch_parameters={"dataframe": pandas.DataFrame(columns)})
    (result,) = outcome.run_results.values()
    return result


def _checkpoint(
    project: "FileDataContext", name: str, suite: Sequence[Expectation], identity: list[str]
) -> "Checkpoint":
    """Suite, validation definition and checkpoint of this name, as declared now."""
    from great_expectations import Checkpoint, ExpectationSuite, ValidationDefinition
    from great_expectations.checkpoint.actions import UpdateDataDocsAction

    declared = ExpectationSuite(name=name, expectations=[_declare(expectation) for expectation in suite])
    definition = ValidationDefinition(
        name=name, data=_batch(project, name), suite=project.suites.add_or_update(declared)
    )
    return project.checkpoints.add_or_update(
        Checkpoint(
            name=name,
            validation_definitions=[project.validation_definitions.add_or_update(definition)],
            actions=[UpdateDataDocsAction(name="data_docs")],
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": identity,
                "return_unexpected_index_query": False,
            },
        )
    )


def _declare(expectation: Expectation) -> Any:
    import great_expectations.expectations

    kind = getattr(great_expectations.expectations, expectation.kind)
    return kind(
        **expectation.arguments,
        description=expectation.says,
        severity=expectation.severity,
        meta={"rule": expectation.rule},
    )


def _batch(project: "FileDataContext", name: str) -> "BatchDefinition[Any]":
    """The whole of the data frame given at run time, as asset ``name`` of the one pandas source."""
    sources = project.data_sources
    known = sources.get(SOURCE) if SOURCE in sources.all() else sources.add_pandas(SOURCE)
    source = cast("PandasDatasource", known)
    if name in source.get_asset_names():
        return cast("BatchDefinition[Any]", source.get_asset(name).get_batch_definition("all"))
    return source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")


def _forget_old_runs(root: Path, name: str) -> None:
    """Delete the oldest results of a suite, with their pages; both lie in folders named by time."""
    for run in _older_runs(root, name, MOST_CHECKS - 1):
        shutil.rmtree(run)


def old_results(workspace: Workspace, keep: int) -> list[Path]:
    """Results of every suite but the newest ``keep``, with their pages."""
    root = _project(workspace)
    suites = {place.name for kind in RESULTS for place in (root / "uncommitted" / kind).glob("*")}
    return [run for name in sorted(suites) for run in _older_runs(root, name, keep)]


def _older_runs(root: Path, name: str, keep: int) -> list[Path]:
    runs = [sorted((root / "uncommitted" / kind / name).glob("*/*")) for kind in RESULTS]
    return [run for found in runs for run in found[: max(0, len(found) - keep)]]


def _failures(result: "ExpectationSuiteValidationResult", suite: Sequence[Expectation]) -> Failures:
    """Rows that broke each rule, in the suite's order.

    Raises:
        OutsideError: an expectation was not evaluated; what was not checked never counts as good.
    """
    broken: dict[str, frozenset[int]] = {}
    for entry in result.results:
        config = entry.expectation_config
        rule = (config.meta or {})["rule"] if config else ""
        if entry.exception_info.get("raised_exception", True):
            raise OutsideError(
                f"Great Expectations could not evaluate {rule!r} ({_messages(entry.exception_info)}), so "
                "nothing counts as checked. Run `make test` to see whether the installation is whole."
            )
        if not entry.success:
            broken[rule] = frozenset(int(row["number"]) for row in entry.result["unexpected_index_list"])
    return {expectation.rule: broken[expectation.rule] for expectation in suite if expectation.rule in broken}


def _messages(info: Mapping[str, Any]) -> str:
    """What was raised; Great Expectations nests it by metric where it can."""
    nested = [entry for entry in info.values() if isinstance(entry, Mapping)] or [info]
    return "; ".join(str(entry.get("exception_message")) for entry in nested)
