"""The report document by document: what got better or worse, on which questions, and what changed in the text.

A question belongs to the document that its fact or statement was read from, or that its probe's evidence names; so
every figure of the page leads back to documents, and from a document to the sentences its facts were read from.
What is long is cut, and what was cut is counted. Who got worse is said in models/directions.py.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from data.records import Answer, Cohort, Fact, FactChange, Grade
from data.report_records import DocumentTexts
from data.text_diff import Change, Piece, TextDiff, compare
from models.directions import LEVEL, Direction, Movement, directions, movement

DOCUMENTS = 150
"""Documents per group; the others are counted."""
LOST_SEEN = 20
"""Documents that lost some within chance, the worst of them, that are seen at once."""
UNCHANGED_SEEN = 8
"""Documents without a change that are seen at once; more are folded."""
QUESTIONS = 24
"""Questions per document that are shown, those that fell first."""
ALL_QUESTIONS = 1200
"""Questions over all documents that are shown."""
PARAGRAPHS = 30
"""Changed paragraphs per document that are shown; of a new or withdrawn document ``FEW``."""
FEW = 6
BEHIND = 60
"""Documents listed behind one figure."""
CHARACTERS = 1200
"""Of one piece of a diff."""
ALL_CHARACTERS = 400_000
"""Of all diffs together; later documents are only counted."""


@dataclass(frozen=True)
class SharePair:
    """Right answers of base and candidate among the same n questions."""

    n: int
    base: float
    candidate: float

    @property
    def difference(self) -> float:
        return self.candidate - self.base


@dataclass(frozen=True)
class Evidence:
    """What questions were made from, with base's and candidate's answers to them."""

    sentence: str
    """Empty where the question itself is the sentence."""
    start: int
    end: int
    """Character span in the document's normalised text; 0 to 0: not known."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class DocumentLine:
    """One document's line, and what opens below it."""

    anchor: str
    path: str
    in_force: bool
    share: SharePair
    movement: Movement
    """From base to candidate."""
    direction: Direction
    cohorts: tuple[tuple[Cohort, SharePair], ...]
    evidence: tuple[Evidence, ...]
    left_out: int
    """Questions that are not shown."""
    diff: str
    """Anchor of the document's diff; empty: there is none."""

    @property
    def why_no_regression(self) -> str:
        """In words, of a document that lost answers within chance; empty elsewhere."""
        if self.direction is not Direction.LOST_SOME:
            return ""
        if not self.movement.could_tell:
            return "Too few facts differ to tell this from chance: judge by the answers below."
        if self.movement.p > LEVEL:
            return "Two equally good models differ as much by chance."
        way = "worse" if self.movement.lost_more else "better"
        return f"Looked at alone it would count as {way}; among so many documents, chance makes one differ as much."


@dataclass(frozen=True)
class DocumentGroup:
    """The documents that went one way, worst or best first."""

    direction: Direction
    lines: tuple[DocumentLine, ...]
    left_out: int
    lost: int
    """Questions lost in all documents of the group."""

    @property
    def seen(self) -> int:
        """Lines that are seen at once; the others unfold."""
        if self.direction is Direction.LOST_SOME:
            return LOST_SEEN
        folded = self.direction is Direction.NO_CHANGE and len(self.lines) > UNCHANGED_SEEN
        return 0 if folded else len(self.lines)


@dataclass(frozen=True)
class DiffView:
    """What changed in one document's text."""

    anchor: str
    path: str
    note: str
    diff: TextDiff | None
    """None: the old text was not kept."""
    answers: str
    """Anchor of the document's line; empty: no question was asked about it."""


@dataclass(frozen=True)
class Documents:
    """The report's documents, however they are looked at."""

    groups: tuple[DocumentGroup, ...]
    asked: int
    """Documents that questions were asked about, which share the level at which any is called worse or better."""
    unasked: tuple[str, ...]
    """Paths of the documents in force that no question was asked about."""
    diffs: tuple[DiffView, ...]
    places: dict[str, str]
    """Anchor of a document's line, by the document's id."""
    origin: dict[str, tuple[tuple[str, str], ...]]
    """(anchor or empty, path) of the documents behind a question, by its source."""
    behind: tuple["Contributions", ...]


@dataclass(frozen=True)
class Contributions:
    """The documents behind one cohort's figure, lowest share first."""

    cohort: Cohort
    lines: tuple[tuple[str, str, SharePair], ...]
    """(anchor or empty, path, share)."""
    left_out: int


def document_views(
    answers: Sequence[Answer],
    changes: Sequence[FactChange],
    texts: Sequence[DocumentTexts],
    paths: Mapping[str, str],
    in_force: Mapping[str, str],
    probes: Mapping[str, tuple[str, ...]],
) -> Documents:
    """Everything that the report says by document.

    Args:
        answers: of all questions.
        changes: every fact with its standing.
        texts: of the documents whose diff is wanted.
        paths: path by document id, of all documents there are or were.
        in_force: the same of those in force.
        probes: document ids by probe id.
    """
    facts = {change.fact.id: change.fact for change in changes}
    known = {**paths, **in_force}
    asked: defaultdict[str, list[Answer]] = defaultdict(list)
    origin: dict[str, tuple[str, ...]] = {}
    for answer in answers:
        source = answer.question.source
        origin[source] = _documents_of(answer, facts, known, probes)
        for document in origin[source]:
            asked[document].append(answer)
    anchors = {document: f"doc-{place}" for place, document in enumerate(sorted(asked, key=known.__getitem__))}
    by_path = {known[document]: anchor for document, anchor in anchors.items()}
    diffs = _diffs(texts, by_path)
    changed = {view.path: view.anchor for view in diffs}
    moved = [movement(found) for found in asked.values()]
    lines = [
        _line(anchors[id], known[id], id in in_force, found, one, direction, facts, changed.get(known[id], ""))
        for (id, found), one, direction in zip(asked.items(), moved, directions(moved), strict=True)
    ]
    groups = _groups(lines)
    shown = {line.anchor for group in groups for line in group.lines}
    places = {document: anchor for document, anchor in anchors.items() if anchor in shown}
    return Documents(
        groups=groups,
        asked=len(lines),
        unasked=tuple(sorted(path for id, path in in_force.items() if id not in asked)),
        diffs=diffs,
        places=places,
        origin={
            source: tuple((places.get(id, ""), known[id]) for id in documents) for source, documents in origin.items()
        },
        behind=tuple(_contributions(cohort, lines, shown) for cohort in Cohort if cohort is not Cohort.HANDBOOK),
    )


def _documents_of(
    answer: Answer, facts: Mapping[str, Fact], paths: Mapping[str, str], probes: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The documents that a question comes from; none for the handbook and for probes without evidence."""
    source = answer.question.source
    if answer.question.cohort in (Cohort.PROBE, Cohort.UNANSWERABLE):
        found = probes.get(source, ())
    else:
        found = (facts[source].document if source in facts else source,)
    return tuple(document for document in found if document in paths)


def share_of(answers: Sequence[Answer]) -> SharePair:
    """Base and candidate on the same questions, of which there is at least one."""
    base = sum(answer.base_grade is Grade.RIGHT for answer in answers)
    candidate = sum(answer.candidate_grade is Grade.RIGHT for answer in answers)
    return SharePair(len(answers), base / len(answers), candidate / len(answers))


def _line(
    anchor: str,
    path: str,
    in_force: bool,
    answers: Sequence[Answer],
    moved: Movement,
    direction: Direction,
    facts: Mapping[str, Fact],
    diff: str,
) -> DocumentLine:
    cohorts = [(cohort, [one for one in answers if one.question.cohort is cohort]) for cohort in Cohort]
    chosen = sorted(answers, key=_interest)[:QUESTIONS]
    return DocumentLine(
        anchor=anchor,
        path=path,
        in_force=in_force,
        share=share_of(answers),
        movement=moved,
        direction=direction,
        cohorts=tuple((cohort, share_of(found)) for cohort, found in cohorts if found),
        evidence=_evidence(chosen, facts),
        left_out=len(answers) - len(chosen),
        diff=diff,
    )


def _fate(answer: Answer) -> tuple[bool, bool]:
    """Whether base and candidate are right."""
    return answer.base_grade is Grade.RIGHT, answer.candidate_grade is Grade.RIGHT


def _interest(answer: Answer) -> tuple[int, str]:
    """Lost answers first, then those never right, then gained ones, then those that stayed right."""
    return ((True, False), (False, False), (False, True), (True, True)).index(_fate(answer)), answer.question.id


def _evidence(answers: Sequence[Answer], facts: Mapping[str, Fact]) -> tuple[Evidence, ...]:
    """The answers by what they were made from, in their order."""
    by_source: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        source = answer.question.source
        by_source[source if source in facts else answer.question.id].append(answer)
    found = []
    for source, members in by_source.items():
        fact = facts.get(source)
        sentence, start, end = (_sentence(fact), fact.start, fact.end) if fact else ("", 0, 0)
        found.append(Evidence(sentence, start, end, tuple(members)))
    return tuple(found)


def _sentence(fact: Fact) -> str:
    """What a fact was read from; a table's row or a heading's list is told in its own terms."""
    return fact.sentence or " | ".join(part for part in (fact.subject, fact.attribute, fact.value) if part)


def _groups(lines: Sequence[DocumentLine]) -> tuple[DocumentGroup, ...]:
    """Regressions and what lost some, worst first; improvements, best first; then what did not change."""
    groups, left = [], ALL_QUESTIONS
    for direction in Direction:
        sign = -1 if direction is Direction.IMPROVEMENT else 1
        members = [line for line in lines if line.direction is direction]
        members.sort(key=lambda line: (sign * line.share.difference, -line.share.n, line.path))
        shown = []
        for line in members[:DOCUMENTS]:
            shown.append(_within(line, left))
            left -= sum(len(one.answers) for one in shown[-1].evidence)
        lost = sum(line.movement.lost for line in members)
        groups.append(DocumentGroup(direction, tuple(shown), len(members) - len(shown), lost))
    return tuple(groups)


def _within(line: DocumentLine, most: int) -> DocumentLine:
    """The line with no more questions than the page has room for."""
    shown: list[Evidence] = []
    for one in line.evidence:
        if len(one.answers) > most:
            break
        most -= len(one.answers)
        shown.append(one)
    left_out = line.share.n - sum(len(one.answers) for one in shown)
    return DocumentLine(**{**vars(line), "evidence": tuple(shown), "left_out": left_out})


def _contributions(cohort: Cohort, lines: Sequence[DocumentLine], shown: Set[str]) -> Contributions:
    found = [
        (line.anchor if line.anchor in shown else "", line.path, share)
        for line in lines
        for asked, share in line.cohorts
        if asked is cohort
    ]
    found.sort(key=lambda one: (one[2].candidate, one[2].difference, one[1]))
    return Contributions(cohort, tuple(found[:BEHIND]), len(found) - len(found[:BEHIND]))


# --- what changed in the texts ---------------------------------------------------------------------


def _diffs(texts: Sequence[DocumentTexts], lines: Mapping[str, str]) -> tuple[DiffView, ...]:
    views, left = [], ALL_CHARACTERS
    for place, one in enumerate(texts):
        diff = _diff(one, left > 0)
        left -= sum(len(piece.text) for change in diff.changes for piece in change.pieces) if diff else 0
        views.append(DiffView(f"diff-{place}", one.path, _note(one), diff, lines.get(one.path, "")))
    return tuple(views)


def _diff(one: DocumentTexts, has_room: bool) -> TextDiff | None:
    if one.old is None or one.new is None:
        return None
    whole = one.withdrawn or one.old_path is None
    found = compare(one.old, one.new, (FEW if whole else PARAGRAPHS) if has_room else 0)
    return TextDiff(tuple(map(_clipped, found.changes)), found.changed, found.more, found.by_sets)


def _clipped(change: Change) -> Change:
    pieces = tuple(
        Piece(piece.mark, piece.text if len(piece.text) <= CHARACTERS else piece.text[:CHARACTERS] + " …")
        for piece in change.pieces
    )
    return Change(pieces, change.folded)


def _note(one: DocumentTexts) -> str:
    if one.withdrawn:
        return "withdrawn"
    if one.old_path is None:
        return "new"
    return f"moved from {one.old_path}" if one.old_path != one.path else ""
