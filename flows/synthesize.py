"""Stage ``synthesize``: snapshot to training rows and to the questions that will judge them.

What is taught is the difference between the snapshot and what the base knows.
"""

from collections import Counter
from collections.abc import Sequence

from data.changes import compare_facts, coverage, new_statements
from data.collection import known_collection, read_collection, read_lineage
from data.expectations import RowContext
from data.files import building, digest_file, read_json, write_json, write_record, write_records
from data.handbook import handbook
from data.records import Fact, FactChange, Standing, SynthesisReport
from data.teaching import questions, teaching_rows
from data.wordings import held_out_names
from data.workspace import Workspace
from tasks.teacher import read_lessons
from tasks.validation import check_rows

LONGEST_ROW = 4000
"""Characters; a longer text is no row."""


def synthesize(workspace: Workspace) -> SynthesisReport:
    """Write rows, changes, questions and the report on them.

    Raises:
        InputError: the documents that the base knows are gone.
    """
    params = workspace.params()
    snapshot, sources = read_collection(workspace.collection)
    _, known_sources = known_collection(workspace.base(), params.ingest, snapshot)
    now = read_lessons(sources, params.synthesize, workspace.teacher_cache)
    known = read_lessons(known_sources, params.synthesize, workspace.teacher_cache)
    changes = compare_facts(known.facts, now.facts)
    fresh = new_statements(known.statements, now.statements)
    book = known_handbook(workspace)
    proposed = teaching_rows(changes, fresh, book, params.synthesize, params.seed)
    texts = {source.id: source.text for source in (*known_sources, *sources)}
    context = RowContext(
        sources=texts,
        max_length=LONGEST_ROW,
        held_out=held_out_names(params.synthesize),
        values={change.fact.id: change.fact.value for change in changes},
    )
    rows, dropped = check_rows(workspace, proposed, context)
    with building(workspace.synthetic) as draft:
        write_records(draft / "rows.jsonl", rows)
        write_records(draft / "changes.jsonl", changes)
        asked = questions(changes, fresh, now.statements, book, params.synthesize)
        write_records(draft / "questions.jsonl", asked)
        report = SynthesisReport(
            snapshot=snapshot.digest,
            base=read_json(workspace.base_digest)["digest"],
            recipe=params.synthesize.recipe,
            teacher=params.synthesize.teacher,
            seed=params.seed,
            facts=_standings(changes),
            new_statements=len(fresh),
            gone_statements=len(new_statements(now.statements, known.statements)),
            rows=dict(Counter(row.purpose for row in rows)),
            dropped=dropped,
            coverage=coverage(snapshot.documents, now.facts, now.statements, fresh),
            rows_digest=digest_file(draft / "rows.jsonl"),
        )
        write_record(draft / "report.json", report)
    write_json(workspace.metrics("synthesize"), _metrics(report))
    return report


def known_handbook(workspace: Workspace) -> tuple[Fact, ...]:
    """The handbook facts that the base learned; none for a base that learned no handbook."""
    lineage = read_lineage(workspace.base())
    if lineage.handbook_seed is None:
        return ()
    return handbook(lineage.handbook_seed, lineage.handbook_entities, lineage.handbook_withdrawn).known


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
