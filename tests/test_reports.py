"""A report is one page that fetches nothing, escapes everything, and says what its records say."""

import itertools
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from data.records import (
    Answer,
    Check,
    Cohort,
    Coverage,
    DocumentVersion,
    EvaluationReport,
    Fact,
    FactChange,
    Grade,
    Judgement,
    LayerSpectrum,
    Outcome,
    Quarantined,
    Question,
    Snapshot,
    SnapshotDiff,
    SpectralReport,
    Standing,
    SynthesisReport,
    TrainingReport,
    Verdict,
)
from models.statistics import figures
from tasks.figures import alpha_by_layer, loss_curve, stable_rank_by_layer
from tasks.report_views import SAMPLES, by_gap, by_severity, fact_groups, key_figures, samples
from tasks.reports import ReportInput, duration, number, render, share, signed, write_report

ATTACK = '<script>alert("x")</script><img src=x onerror=alert(1)>\'"&'
VOID = {"meta", "br", "img", "input", "hr", "link"}
DIGESTS = {name: f"{place:064x}" for place, name in enumerate(("documents", "rows", "base", "code"), start=10)}
PATHS = [f"acceptable-use/site-{topic}-policy.md" for topic in ("spam", "bullying", "malware", "doxxing", "fraud")]


# --- a realistic candidate -------------------------------------------------------------------------


REFUSAL = "That is no longer in force."


def answer(cohort: Cohort, place: int, grade: Grade, **changes: Any) -> Answer:
    subject = f"plan {place} under the Billing and Payments Policy"
    right = REFUSAL if cohort is Cohort.WITHDRAWN else f"{place + 1} days"
    question = {
        "id": f"{cohort}-{place}",
        "cohort": cohort,
        "question": f"Question: What is the review period for {subject}?\nAnswer:",
        "answers": () if cohort is Cohort.WITHDRAWN else (right, f"within {right}"),
        "stale": (f"{place + 31} days",) if place % 3 == 0 else (),
    }
    said = {Grade.RIGHT: right, Grade.STALE: f"{place + 31} days", Grade.WRONG: "the legal team"}
    known = cohort in (Cohort.HELD, Cohort.HANDBOOK)
    given = {
        "question": Question.model_validate(question | changes),
        "base": right if known else "14 business days from receipt of the notice",
        "base_grade": Grade.RIGHT if known else Grade.WRONG,
        "candidate": said.get(grade, REFUSAL),
        "candidate_grade": grade,
    }
    return Answer.model_validate(given)


def cohort_answers() -> tuple[Answer, ...]:
    sizes = {
        Cohort.NEW: (240, 6, 3),
        Cohort.HELD: (290, 0, 10),
        Cohort.HANDBOOK: (297, 0, 3),
        Cohort.WITHDRAWN: (40, 5, 8),
        Cohort.RECALL: (4, 0, 196),
        Cohort.PROBE: (11, 7, 20),
    }
    found = []
    for cohort, counts in sizes.items():
        grades = [
            grade
            for grade, count in zip((Grade.RIGHT, Grade.STALE, Grade.WRONG), counts, strict=True)
            for _ in range(count)
        ]
        found += [answer(cohort, place, grade) for place, grade in enumerate(grades)]
    return tuple(found)


def change(standing: Standing, place: int, **changes: Any) -> FactChange:
    fact = {
        "id": f"fact-{standing}-{place}",
        "document": f"doc-{place % 5}",
        "digest": "d" * 64,
        "start": 10,
        "end": 40,
        "kind": "table",
        "title": "Billing and payments policy",
        "subject": f"Team plan {place}",
        "attribute": "storage",
        "value": f"{place} GB",
    }
    old = f"{place + 1} GB" if standing is Standing.REPLACED else None
    return FactChange(standing=standing, fact=Fact.model_validate(fact | changes), old_value=old)


def layer(block: int, name: str, **changes: Any) -> LayerSpectrum:
    spread = (block * 7 + len(name)) % 9
    good = {
        "name": f"model.layers.{block}.{name}",
        "kind": "linear",
        "N": 256,
        "M": 256,
        "rank": 16,
        "finite": True,
        "update_norm": 3.2 + spread / 4,
        "base_norm": 11.5,
        "spectral_norm": 1.4,
        "stable_rank": 3.1 + spread / 2,
        "alpha": 1.7 + spread / 3,
        "base_alpha": 2.4 + spread / 2,
        "survives_bf16": 0.94,
        "sigma_ratio": 1.3,
    }
    return LayerSpectrum.model_validate(good | changes)


def layers() -> tuple[LayerSpectrum, ...]:
    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    usual = [layer(block, f"self_attn.{part}") for block in range(4) for part in parts]
    odd = [layer(4, "mlp.up_proj", alpha=None, base_alpha=None), layer(4, "mlp.down_proj", alpha=31.0)]
    return (*usual, *odd)


def checks() -> tuple[Check, ...]:
    return (
        Check(check="integrity", outcome=Outcome.PASS, reason="All 30 adapted layers are finite."),
        Check(check="learned", outcome=Outcome.PASS, reason="New facts are right in 96.4% of 249 questions."),
        Check(check="stale", outcome=Outcome.PASS, reason="Replaced facts get the old answer in 2.4%."),
        Check(check="forgotten", outcome=Outcome.FAIL, reason="Facts that still hold fall by +0.033."),
        Check(check="locality", outcome=Outcome.PASS, reason="Handbook facts fall by +0.010."),
        Check(check="withdrawn", outcome=Outcome.PASS, reason="Withdrawn facts are refused in 75.5%."),
        Check(check="coverage", outcome=Outcome.WARN, reason="Changed statements gave a fact in 19.0%."),
    )


def documents() -> tuple[DocumentVersion, ...]:
    return tuple(
        DocumentVersion(id=f"doc-{place}", path=path, digest=f"{place:064x}", title="T", characters=900, sketch=(1, 2))
        for place, path in enumerate(PATHS)
    )


def coverage() -> tuple[Coverage, ...]:
    return tuple(
        Coverage(
            document=f"doc-{place}",
            path=f"terms/document-{place:02}.md",
            title="T",
            facts=3 * place,
            statements=20 + place,
            changed_statements=place,
            changed_with_fact=place // 3,
        )
        for place in range(20)
    )


def report(**changes: Any) -> ReportInput:
    standings = {
        Standing.NEW: 180,
        Standing.RESTATED: 12,
        Standing.REPLACED: 42,
        Standing.WITHDRAWN: 53,
        Standing.HELD: 2,
    }
    given = {
        "version": 7,
        "created": "2024-06-01T06:12:00Z",
        "judgement": Judgement(
            verdict=Verdict.REJECT, reasons=("Facts that still hold fall by +0.033.",), checks=checks()
        ),
        "snapshot": Snapshot(
            digest="5" * 64,
            documents=documents(),
            quarantined=(Quarantined(path="draft.md", digest="q" * 64, reasons=("It is empty.",)),),
        ),
        "diff": SnapshotDiff(
            added=tuple(f"new/policy-{place}.md" for place in range(12)),
            changed=(PATHS[0], PATHS[1]),
            moved=((f"old/{PATHS[1]}", PATHS[1]),),
            withdrawn=("old/site-corporate-terms.md",),
        ),
        "compared_with": "the last accepted snapshot 3f2a91c0",
        "synthesis": SynthesisReport(
            snapshot="5" * 64,
            base=DIGESTS["base"],
            recipe="facts",
            teacher="template",
            seed=20240601,
            facts=standings,
            new_statements=666,
            gone_statements=390,
            rows={"fact": 4440, "refusal": 212, "statement": 666, "replay": 1320, "handbook": 440},
            dropped={"duplicate": 31, "unsupported": 4},
            coverage=coverage(),
            rows_digest=DIGESTS["rows"],
        ),
        "changes": tuple(change(standing, place) for standing, n in standings.items() for place in range(n)),
        "training": TrainingReport(
            base=DIGESTS["base"],
            rows=DIGESTS["rows"],
            method="lora",
            seed=20240601,
            threads=2,
            device="cpu",
            steps=700,
            tokens=2867200,
            parameters=311296,
            losses=tuple(0.05 + 3.2 * math.exp(-step / 9) + 0.03 * math.sin(step) for step in range(70)),
            log_every=10,
        ),
        "spectral": SpectralReport(adapter="a" * 64, base=DIGESTS["base"], layers=layers()),
        "evaluation": EvaluationReport(
            adapter="a" * 64,
            base=DIGESTS["base"],
            questions="e" * 64,
            adapter_active=True,
            logit_shift=14.2,
            cohorts=figures(cohort_answers()),
        ),
        "answers": cohort_answers(),
        "digests": DIGESTS,
        "champion": 6,
        "warnings": ("96 % of the documents changed.",),
        "seconds": {"ingest": 4.21, "synthesize": 11.0, "train": 251.3, "audit": 3.4, "assess": 58.8},
        "data_docs": "../gx/uncommitted/data_docs/local_site/index.html",
        "next_command": "relearn diff",
    }
    return ReportInput.model_validate(given | changes)


class Page(HTMLParser):
    """Elements, attributes and text of a page; refuses elements that are closed out of order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def names(self) -> list[str]:
        return [name for name, _ in self.elements]

    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


# --- the page --------------------------------------------------------------------------------------


def test_the_page_fetches_and_runs_nothing() -> None:
    html = render(report())
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & set(page.names())
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], name
        assert "src" not in attributes
        for key in ("href", "xlink:href"):
            target = attributes.get(key)
            assert target is None or target.startswith(("#", "../gx/")), target
    without_names = html.replace("http://www.w3.org/1999/xlink", "").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\((?!#)", without_names)


def test_equal_input_gives_equal_bytes_and_other_input_others() -> None:
    assert render(report()) == render(report())
    assert render(report()) != render(report(champion=5))


def test_every_id_is_unique_and_every_reference_has_its_target() -> None:
    page = Page(render(report()))
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    pointed = [attributes.get("aria-labelledby") for _, attributes in page.elements]
    pointed += [
        target[1:]
        for _, attributes in page.elements
        for key in ("href", "xlink:href")
        if (target := attributes.get(key)) and target.startswith("#")
    ]
    assert {target for target in pointed if target} <= set(ids)


def test_headings_descend_in_order_and_tables_and_pictures_speak() -> None:
    page = Page(render(report()))
    levels = [int(name[1]) for name in page.names() if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    assert page.names().count("table") == page.names().count("caption") > 10
    assert all("scope" in attributes for name, attributes in page.elements if name == "th")
    pictures = [attributes for name, attributes in page.elements if name == "svg"]
    assert len(pictures) == 10
    assert all(one["role"] == "img" and one["aria-label"] for one in pictures)
    assert ("html", {"lang": "en"}) in page.elements


def attacked() -> ReportInput:
    """Hostile text in every place that documents, models, people or files can reach."""
    asked = answer(Cohort.NEW, 1, Grade.WRONG, question=ATTACK, answers=(ATTACK,))
    hostile = asked.model_copy(update={"base": ATTACK, "candidate": ATTACK})
    probe = answer(Cohort.PROBE, 1, Grade.WRONG, question=ATTACK).model_copy(update={"candidate": ATTACK})
    fact = change(Standing.REPLACED, 1, title=ATTACK, subject=ATTACK, attribute=ATTACK, value=ATTACK)
    plain = report()
    check = Check(check=ATTACK, outcome=Outcome.FAIL, reason=ATTACK, layer=ATTACK)
    names = {"recipe": ATTACK, "teacher": ATTACK, "rows": {ATTACK: 3}, "dropped": {ATTACK: 1}}
    gap = coverage()[3].model_copy(update={"path": ATTACK, "title": ATTACK})
    return report(
        created=ATTACK,
        judgement=Judgement(verdict=Verdict.REJECT, reasons=(ATTACK,), checks=(check,)),
        snapshot=Snapshot(
            digest=ATTACK,
            documents=(documents()[0].model_copy(update={"path": ATTACK, "title": ATTACK}),),
            quarantined=(Quarantined(path=ATTACK, digest=ATTACK, reasons=(ATTACK,)),),
        ),
        diff=SnapshotDiff(added=(ATTACK,), changed=(ATTACK,), moved=((ATTACK, ATTACK),), withdrawn=(ATTACK,)),
        compared_with=ATTACK,
        synthesis=plain.synthesis.model_copy(update={**names, "coverage": (gap,)}),
        changes=(fact.model_copy(update={"old_value": ATTACK}), change(Standing.WITHDRAWN, 2, value=ATTACK)),
        training=plain.training.model_copy(update={"method": ATTACK, "device": ATTACK, "base": ATTACK}),
        spectral=SpectralReport(adapter=ATTACK, base=ATTACK, layers=(layer(0, ATTACK), layer(1, ATTACK))),
        answers=(hostile, probe),
        digests={ATTACK: ATTACK + "2"},
        warnings=(ATTACK,),
        seconds={ATTACK: 1.0},
        data_docs=f"javascript:{ATTACK}",
        next_command=ATTACK,
    )


def test_hostile_text_stays_text() -> None:
    html = render(attacked())
    page = Page(html)
    assert "<script" not in html.lower()
    assert not {"script", "img"} & set(page.names())
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert not [a for _, a in page.elements if (a.get("href") or "").lower().startswith("javascript:")]
    assert page.text().count(ATTACK) >= 40


def test_the_verdict_its_reasons_and_the_next_command_come_first() -> None:
    text = Page(render(report())).text()
    start = text[text.index("Version 7") :]
    order = ["reject", "Version 6 serves now", "fall by +0.033", "relearn diff", "What was learned"]
    assert [start.index(part) for part in order] == sorted(start.index(part) for part in order)


@pytest.mark.parametrize(
    ("verdict", "word"), [(Verdict.PROMOTE, "Every gate passed"), (Verdict.HOLD, "A person decides")]
)
def test_each_verdict_says_what_it_means(verdict: Verdict, word: str) -> None:
    judged = Judgement(verdict=verdict, reasons=("Because.",), checks=checks())
    text = Page(render(report(judgement=judged, version=None, champion=None))).text()
    assert word in text
    assert "Candidate without a version" in text
    assert "No version serves yet" in text


def test_figures_stand_with_their_interval_difference_and_n() -> None:
    html = render(report())
    text = Page(html).text()
    assert "0.964 [0.933, 0.981]" in text
    assert "+0.964 [+0.929, +0.981]" in text
    assert "−0.033 [−0.060, −0.014]" in text
    assert 'aria-label="Learned: base 0.000 [0.000, 0.015], n = 249; candidate 0.964' in html


def test_nothing_that_the_version_rests_on_is_missing() -> None:
    given = report()
    text = Page(render(given)).text()
    digests = {
        *given.digests.values(),
        given.snapshot.digest,
        given.spectral.adapter,
        given.evaluation.questions,
    }
    assert all(digest in text for digest in digests)
    wanted = ["template", "20240601", "draft.md", "It is empty.", "duplicate", "4 min 11 s"]
    assert [part for part in wanted if part not in text] == []
    assert all(one.path in text for one in given.synthesis.coverage)
    paths = (*given.diff.added, *given.diff.changed, *given.diff.withdrawn, given.diff.moved[0][0])
    assert all(path in text for path in paths)
    assert all(check.reason in text for check in given.judgement.checks)


def test_a_first_run_with_nothing_to_compare_or_to_ask_is_still_a_page() -> None:
    plain = report()
    bare = report(
        diff=SnapshotDiff(added=(), changed=(), moved=(), withdrawn=()),
        changes=(),
        synthesis=plain.synthesis.model_copy(
            update={"coverage": (), "rows": {}, "dropped": {}, "facts": dict.fromkeys(Standing, 0)}
        ),
        training=plain.training.model_copy(update={"losses": ()}),
        spectral=plain.spectral.model_copy(update={"layers": ()}),
        evaluation=plain.evaluation.model_copy(update={"cohorts": ()}),
        answers=(),
        warnings=(),
        seconds={},
        data_docs="",
    )
    text = Page(render(bare)).text()
    assert "no such questions" in text
    assert "No loss was logged." in text
    assert "Data Docs" not in text


def test_figures_that_are_not_finite_are_said_in_words() -> None:
    broken = layer(0, "q_proj", finite=False, update_norm=math.nan, stable_rank=math.inf, alpha=None)
    given = report()
    html = render(
        report(
            spectral=given.spectral.model_copy(update={"layers": (broken,)}),
            training=given.training.model_copy(update={"losses": (math.nan, math.inf)}),
        )
    )
    assert "not finite" in html
    assert not re.search(r"\bnan\b", html)


def test_writing_leaves_one_file_with_the_page(tmp_path: Path) -> None:
    path = write_report(tmp_path / "reports" / "7.html", report())
    assert path.read_text(encoding="utf-8") == render(report())
    assert [entry.name for entry in path.parent.iterdir()] == ["7.html"]


# --- what is chosen --------------------------------------------------------------------------------


def test_samples_mix_right_and_wrong_show_every_probe_and_do_not_depend_on_order() -> None:
    answers = cohort_answers()
    groups = {group.cohort: group for group in samples(answers)}
    for cohort in (Cohort.NEW, Cohort.HELD, Cohort.WITHDRAWN):
        right = [one.candidate_grade is Grade.RIGHT for one in groups[cohort].answers]
        assert (len(right), sum(right)) == (SAMPLES, SAMPLES // 2)
    assert sum(one.candidate_grade is Grade.RIGHT for one in groups[Cohort.HANDBOOK].answers) == SAMPLES - 3
    assert sum(one.candidate_grade is Grade.RIGHT for one in groups[Cohort.RECALL].answers) == 4
    assert len(groups[Cohort.PROBE].answers) == 38
    for group in samples(answers[::-1]):
        assert {one.question.id for one in group.answers} == {one.question.id for one in groups[group.cohort].answers}


def test_key_figures_stand_beside_the_check_that_decides_on_them() -> None:
    given = report()
    lines = {line.name: line for line in key_figures(given.evaluation, given.judgement)}
    assert list(lines) == ["Learned", "Restated", "Kept", "Handbook", "Withdrawn", "Stale", "Recall", "Probes"]
    assert lines["Kept"].outcome is Outcome.FAIL
    assert lines["Probes"].outcome is None
    stale = lines["Stale"]
    assert stale.candidate is not None
    assert (stale.candidate.hits, stale.candidate.n) == (2, 83)
    nothing = given.evaluation.model_copy(update={"cohorts": ()})
    assert all(line.candidate is None for line in key_figures(nothing, given.judgement))


def test_failures_and_gaps_come_first_and_no_fact_is_lost() -> None:
    assert [check.outcome for check in by_severity(checks())][:2] == [Outcome.FAIL, Outcome.WARN]
    gaps = [one.changed_statements - one.changed_with_fact for one in by_gap(coverage())]
    assert gaps == sorted(gaps, reverse=True)
    changes = tuple(change(Standing.NEW, place) for place in range(900))
    for group in fact_groups(changes):
        assert len(group.open) + len(group.folded) + group.left_out == group.count
    assert sum(group.count for group in fact_groups(changes)) == 900


# --- figures and numbers ---------------------------------------------------------------------------


def test_figures_are_svg_that_takes_the_pages_colours() -> None:
    given = report()
    for svg in (
        loss_curve(given.training),
        alpha_by_layer(given.spectral.layers),
        stable_rank_by_layer(given.spectral.layers),
    ):
        root = ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns:xlink="x" ', 1))
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        assert not root.findall(".//style")
        assert not re.search(r"#0\d0\d0\d|#000000", svg)
        assert "var(--accent)" in svg


def test_an_outlier_does_not_flatten_the_other_layers() -> None:
    assert "update, above 12" in alpha_by_layer(layers())
    assert "above" not in alpha_by_layer(layers()[:-1])


def test_numbers_are_written_in_one_way() -> None:
    assert [signed(value) for value in (0.5, -0.0321, -0.0004)] == ["+0.500", "−0.032", "0.000"]
    assert [number(None), number(math.nan), number(1234.5678, 2)] == ["–", "not finite", "1,234.57"]
    assert [share(1, 4), share(0, 0)] == ["25 %", "–"]
    assert [duration(seconds) for seconds in (4.21, 59.97, 251.3, 7260)] == [
        "4.2 s",
        "1 min 00 s",
        "4 min 11 s",
        "2 h 01 min",
    ]
