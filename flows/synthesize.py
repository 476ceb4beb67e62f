"""Stage ``synthesize``: snapshot to training rows and to the questions that will judge them.

What is taught is the difference between the snapshot and what the base knows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from data.changes import compare_facts, coverage, new_statements
from data.collection import known_collection, read_collection, read_lineage
from data.expectations import RowContext
from data.files import building, digest_file, read_json, write_json, write_record, write_records
from data.handbook import handbook
from data.params import Params
from data.records import Fact, FactChange, Question, Row, Snapshot, Standing, Statement
from data.report_records import Coverage, SynthesisReport
from data.teaching import questions, teaching_rows
from data.wordings import held_out_names
from data.workspace import Workspace
from tasks.teacher import read_lessons
from tasks.validation import check_rows

LONGEST_ROW = 4000
"""Characters; a longer text is no row."""


@dataclass(frozen=True)
class Material:
    """What is taught, and by what it is judged."""

    snapshot: Snapshot
    changes: tuple[FactChange, ...]
    """Every fact with its standing."""
    fresh: tuple[Statement, ...]
    """Statements that the base has not seen."""
    gone: int
    """Statements that the base knows and no document holds any longer."""
    rows: tuple[Row, ...]
    """Those that passed the checks."""
    dropped: dict[str, int]
    """Rows that did not, by reason."""
    questions: list[Question]
    coverage: tuple[Coverage, ...]


def synthesize(workspace: Workspace) -> SynthesisReport:
    """Write rows, changes, questions and the report on them.

    Raises:
        InputError: the documents that the base knows are gone.
    """
    params = workspace.params()
    material = prepare(workspace, params)
    with building(workspace.synthetic) as draft:
        write_records(draft / "rows.jsonl", material.rows)
        write_records(draft / "changes.jsonl", material.changes)
        write_records(draft / "questions.jsonl", material.questions)
        report = SynthesisReport(
            snapshot=material.snapshot.digest,
            base=read_json(workspace.base_digest)["digest"],
            recipe=params.synthesize.recipe,
            teacher=params.synthesize.teacher,
            seed=params.seed,
            facts=_standings(material.changes),
            new_statements=len(material.fresh),
            gone_statements=material.gone,
            rows=dict(Counter(row.purpose for row in material.rows)),
            dropped=material.dropped,
            coverage=material.coverage,
            rows_digest=digest_file(draft / "rows.jsonl"),
        )
        write_record(draft / "report.json", report)
    write_json(workspace.metrics("synthesize"), _metrics(report))
    return report


def prepare(workspace: Workspace, params: Params) -> Material:
    """Compare the collection with what the base knows, and make checked rows and questions of the difference.

    Raises:
        InputError: the documents that the base knows are gone.
    """
    settings = params.synthesize
    snapshot, sources = read_collection(workspace.collection)
    _, known_sources = known_collection(workspace.base(), params.ingest, snapshot)
    now = read_lessons(sources, settings, workspace.teacher_cache)
    known = read_lessons(known_sources, settings, workspace.teacher_cache)
    changes = compare_facts(known.facts, now.facts)
    fresh = new_statements(known.statements, now.statements)
    book = known_handbook(workspace)
    context = RowContext(
        sources={source.id: source.text for source in (*known_sources, *sources)},
        max_length=LONGEST_ROW,
        held_out=held_out_names(settings),
        values={change.fact.id: change.fact.value for change in changes},
    )
    rows, dropped = check_rows(workspace, teaching_rows(changes, fresh, book, settings, params.seed), context)
    return Material(
        snapshot=snapshot,
        changes=changes,
        fresh=fresh,
        gone=len(new_statements(now.statements, known.statements)),
        rows=rows,
        dropped=dropped,
        questions=questions(changes, fresh, now.statements, book, settings),
        coverage=coverage(snapshot.documents, _taught(changes), now.statements, fresh),
    )


def known_handbook(workspace: Workspace) -> tuple[Fact, ...]:
    """The handbook facts that the base learned; none for a base that learned no handbook."""
    lineage = read_lineage(workspace.base())
    if lineage.handbook_seed is None:
        return ()
    return handbook(lineage.handbook_seed, lineage.handbook_entities, lineage.handbook_withdrawn).known


def _taught(changes: Sequence[FactChange]) -> list[Fact]:
    """The facts in force that questions are asked about."""
    return [c.fact for c in changes if c.standing not in (Standing.WITHDRAWN, Standing.AMBIGUOUS)]


def _standings(changes: Sequence[FactChange]) -> dict[Standing, int]:
    counts = Counter(change.standing for change in changes)
    return {standing: counts[standing] for standing in Standing}


def _metrics(report: SynthesisReport) -> dict[str, object]:
    changed = sum(document.changed_statements for document in report.coverage)
    covered = sum(document.changed_with_fact for document in report.coverage)
    return {
        "facts": {standing.value: count for standing, count in report.facts.items()},
        "rows": report.rows,
        "dropped": report.dropped,
        "new_statements": report.new_statements,
        "gone_statements": report.gone_statements,
        "coverage": round(covered / changed, 6) if changed else None,
    }
