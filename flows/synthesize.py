"""Stage ``synthesize``: snapshot to training rows and to the questions that will judge them.

What is taught is the difference between the snapshot and what the base knows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.changes import compare_facts, coverage, new_statements
from data.claims import contradictions, is_worth_a_look, listed, once, set_aside, told
from data.collection import known_collection, read_collection, read_lineage
from data.errors import PersonNeededError
from data.expectations import RowContext
from data.extraction import Source
from data.files import building, digest_file, read_json, write_json, write_record, write_records
from data.handbook import handbook
from data.param_stages import EndpointParams
from data.params import Params
from data.proposals import Proposal, Written, by_recipe, starved
from data.prose_questions import judging, statements_asked
from data.records import Fact, FactChange, Question, Row, Snapshot, Standing, Statement
from data.report_records import Contradiction, Coverage, Funnel, Repeated, SynthesisReport
from data.rows import LONGEST_ROW
from data.teaching import RECIPE, TEACHER, questions, teaching_rows
from data.withheld import read_withheld, require_rows_in_force
from data.wordings import held_out_names
from data.workspace import Workspace
from flows.prose import Prose, teach_prose, teacher_name
from tasks.conversation import Spending
from tasks.teacher import read_lessons
from tasks.validation import broken_rows

LISTED = 200
"""Contradictions of each kind and repeated claims that the report names; the others are counted."""


@dataclass(frozen=True)
class Difference:
    """How a collection stands against what the base knows."""

    texts: dict[str, str]
    """Document id -> normalised text, of known documents too."""
    changes: tuple[FactChange, ...]
    """Every fact with its standing, but for copies of what too many documents claim."""
    stated: list[Fact]
    """What is in force and undisputed, those copies too: what was read from the statements."""
    repeated: tuple[Repeated, ...]
    """Those claims."""
    contradictions: tuple[Contradiction, ...]
    """Between documents in force."""
    statements: tuple[Statement, ...]
    """Those in force."""
    fresh: tuple[Statement, ...]
    """Statements that the base has not seen and none under the same title contradicts."""
    gone: int
    """Statements that the base knows and no document holds any longer."""


@dataclass(frozen=True)
class Material:
    """What is taught, and by what it is judged."""

    snapshot: Snapshot
    difference: Difference
    rows: tuple[Row, ...]
    """Those that passed the checks."""
    funnel: tuple[Funnel, ...]
    """What became of all that were proposed."""
    questions: list[Question]
    coverage: tuple[Coverage, ...]
    prose: Prose
    """What a teacher wrote, and what all of it cost."""


def synthesize(
    workspace: Workspace,
    report: Callable[[Spending], None] = lambda spending: None,
    warn: Callable[[str], None] = lambda sentence: None,
) -> SynthesisReport:
    """Write rows, changes, questions and the report on them.

    Args:
        workspace: where to read and write.
        report: called after each call to an endpoint.
        warn: called with a sentence for each recipe that kept nothing, and on contradictions and repeated claims.

    Raises:
        InputError: the documents that the base knows are gone.
        PersonNeededError: rows were proposed and none was kept, or the teacher's budget is spent.
        OutsideError: the teacher's endpoint does not answer.
    """
    params = workspace.params()
    material = prepare(workspace, params, report)
    with building(workspace.synthetic) as draft:
        write_records(draft / "rows.jsonl", material.rows)
        write_records(draft / "changes.jsonl", material.difference.changes)
        write_records(draft / "questions.jsonl", material.questions)
        written = SynthesisReport(
            snapshot=material.snapshot.digest,
            base=read_json(workspace.base_digest)["digest"],
            recipe=", ".join(params.synthesize.recipes),
            teacher=", ".join([TEACHER, *([teacher_name(params)] if params.synthesize.prose_recipes else [])]),
            seed=params.seed,
            facts=_standings(material.difference.changes),
            new_statements=len(material.difference.fresh),
            gone_statements=material.difference.gone,
            rows=dict(Counter(row.purpose for row in material.rows)),
            dropped=dict(sum((Counter(one.dropped) for one in material.funnel), Counter())),
            funnel=material.funnel,
            coverage=material.coverage,
            rows_digest=digest_file(draft / "rows.jsonl"),
            contradictions=listed(material.difference.contradictions, LISTED),
            contradicted=len(material.difference.contradictions),
            disputed=sum(one.title is not None for one in material.difference.contradictions),
            differing=sum(is_worth_a_look(one) for one in material.difference.contradictions),
            repeated=material.difference.repeated[:LISTED],
            repeated_claims=len(material.difference.repeated),
        )
        write_record(draft / "report.json", written)
    write_json(workspace.metrics("synthesize"), _metrics(written, material, params.endpoint))
    for sentence in (*starved(written.funnel), *told(written)):
        warn(sentence)
    return written


def prepare(
    workspace: Workspace, params: Params, report: Callable[[Spending], None] = lambda spending: None
) -> Material:
    """Compare the collection with what the base knows, and make checked rows and questions of the difference.

    Raises:
        InputError: the documents that the base knows are gone.
        PersonNeededError: rows were proposed and none was kept, or the teacher's budget is spent.
        OutsideError: the teacher's endpoint does not answer.
    """
    snapshot, sources = read_collection(workspace.collection)
    found = compare(workspace, params, snapshot, sources)
    book = known_handbook(workspace)
    asked = questions(found.changes, found.fresh, found.statements, book, params.synthesize)
    facts, prose = _written(workspace, params, found, book, asked, report)
    written = (facts, *prose.written)
    rows = [row for recipe in written for row in recipe.rows]
    broken = broken_rows(workspace, rows, _context(found, params))
    funnel = by_recipe(written, broken)
    kept = tuple(row for number, row in enumerate(rows) if number not in broken)
    require_rows_in_force(kept, read_withheld(workspace.withheld))
    if rows and not kept:
        raise PersonNeededError(f"No row is left to train on. {' '.join(starved(funnel))} Look at synthesize.recipes.")
    return Material(
        snapshot=snapshot,
        difference=found,
        rows=kept,
        funnel=funnel,
        questions=[*asked, *judging((question for recipe in written for question in recipe.questions), kept)],
        coverage=coverage(snapshot.documents, found.stated, found.statements, found.fresh),
        prose=prose,
    )


def compare(
    workspace: Workspace, params: Params, snapshot: Snapshot, sources: Sequence[Source], keep: bool = True
) -> Difference:
    """How a collection stands against what the base knows; ``keep`` caches what was read.

    Raises:
        InputError: the documents that the base knows are gone.
    """
    _, known_sources = known_collection(workspace.base(), params.ingest, snapshot)
    now = read_lessons(sources, params.synthesize, workspace.teacher_cache, keep)
    known = read_lessons(known_sources, params.synthesize, workspace.teacher_cache, keep)
    paths = {document.id: document.path for document in snapshot.documents}
    all_changes = compare_facts(known.facts, now.facts)
    undisputed, statements = set_aside(all_changes, now.statements)
    changes, repeated = once(undisputed, paths, params.synthesize.max_copies)
    return Difference(
        texts={source.id: source.text for source in (*known_sources, *sources)},
        changes=changes,
        stated=_taught(undisputed),
        repeated=repeated,
        contradictions=contradictions(all_changes, paths),
        statements=now.statements,
        fresh=new_statements(known.statements, statements),
        gone=len(new_statements(now.statements, known.statements)),
    )


def _written(
    workspace: Workspace,
    params: Params,
    found: Difference,
    book: Sequence[Fact],
    asked: Sequence[Question],
    report: Callable[[Spending], None],
) -> tuple[Written, Prose]:
    """What recipe ``facts`` and the teacher propose; what the teacher adds is rehearsed against, too."""
    prose = Prose()
    facts = teaching_rows(found.changes, found.fresh, book, params.synthesize, params.seed)
    if params.synthesize.prose_recipes:
        taken = [*(question.question for question in asked), *(row.prompt for row in facts if row.prompt)]
        prose = teach_prose(found.fresh, taken, workspace, params, report)
        others = sum(len(recipe.rows) for recipe in prose.written)
        facts = teaching_rows(found.changes, found.fresh, book, params.synthesize, params.seed, others)
    return Written(RECIPE, tuple(Proposal("", row) for row in facts)), prose


def _context(found: Difference, params: Params) -> RowContext:
    return RowContext(
        sources=found.texts,
        max_length=LONGEST_ROW,
        held_out=held_out_names(params.synthesize),
        values={change.fact.id: change.fact.value for change in found.changes},
    )


def known_handbook(workspace: Workspace) -> tuple[Fact, ...]:
    """The handbook facts that the base learned; none for a base that learned no handbook."""
    lineage = read_lineage(workspace.base())
    if lineage.handbook_seed is None:
        return ()
    return handbook(lineage.handbook_seed, lineage.handbook_entities, lineage.handbook_withdrawn).known


def _taught(changes: Sequence[FactChange]) -> list[Fact]:
    """The facts in force that may be taught."""
    return [c.fact for c in changes if c.standing not in (Standing.WITHDRAWN, Standing.AMBIGUOUS)]


def _standings(changes: Sequence[FactChange]) -> dict[Standing, int]:
    counts = Counter(change.standing for change in changes)
    return {standing: counts[standing] for standing in Standing}


def _metrics(report: SynthesisReport, material: Material, endpoint: EndpointParams) -> dict[str, object]:
    changed = sum(document.changed_statements for document in report.coverage)
    covered = sum(document.changed_with_fact for document in report.coverage)
    return {
        "facts": {standing.value: count for standing, count in report.facts.items()},
        "rows": report.rows,
        "dropped": report.dropped,
        "contradictions": report.contradicted,
        "repeated_claims": report.repeated_claims,
        "new_statements": report.new_statements,
        "gone_statements": report.gone_statements,
        "coverage": round(covered / changed, 6) if changed else None,
        "funnel": {one.recipe: {"proposed": one.proposed, "kept": one.kept} for one in report.funnel},
        "statements_asked": len(statements_asked(material.difference.fresh, material.rows)),
        "teacher": {
            "calls": material.prose.calls,
            "tokens_in": material.prose.tokens.sent,
            "tokens_out": material.prose.tokens.received,
            "money": round(material.prose.tokens.cost(endpoint), 6),
        },
    }
