"""A version's model card, in Markdown: what it is and was made from, what was measured, and its limits.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from data.evaluation_records import CohortFigures
from data.evidence_records import Provenance
from data.files import shortened
from data.records import Grade
from data.report_records import Lineage
from tasks.candidate import Candidate

VERIFY = (
    "Every file of this folder is listed with its SHA-256 in `manifest.json`; the SHA-256 of that file stands in the "
    "ledger, in the entry `judge` of this version (`relearn history --verify`)."
)
LIMITS = (
    "It answers from the documents below and from what its base knows, and nothing else was measured. It may answer "
    "wrongly with the same certainty. Weights can give away what they learned: treat them like the documents."
)


def model_card(version: int, made: Candidate, provenance: Provenance) -> str:
    """Of a candidate."""
    training, judgement = made.training, made.judgement
    return "\n".join(
        [
            f"# Version {version}",
            "",
            f"Verdict **{judgement.verdict.value}**. {' '.join(judgement.reasons)}",
            "",
            "## What it is",
            "",
            f"An adapter ({training.method}, {training.parameters:,} trained parameters, {training.steps:,} steps on "
            f"{training.tokens:,} tokens, seed {training.seed}) on the base with digest `{made.digests.base}`. Its own "
            f"digest is `{made.digests.adapter}`.",
            "",
            "## What was measured",
            "",
            "Right answers, with 95 % intervals; what each cohort asks stands in docs/gates.md.",
            "",
            "| cohort | base | this version | n |",
            "| --- | --- | --- | --- |",
            *map(_figures, made.evaluation.cohorts),
            "",
            "## What it was made from",
            "",
            f"Documents with digest `{made.digests.snapshot}`; rows of training text that name each:",
            "",
            "| document | rows | learned | digest |",
            "| --- | --- | --- | --- |",
            *_documents(provenance),
            "",
            *_end(),
        ]
    )


def base_card(version: int, base: str, base_digest: str, lineage: Lineage) -> str:
    """Of the base alone."""
    knows = f"documents with digest `{lineage.snapshot}`" if lineage.snapshot else "no documents of this workspace"
    return "\n".join(
        [
            f"# Version {version}: the base alone",
            "",
            f"The base {Path(base).name}, digest `{base_digest}`, without an adapter. It learned {knows}.",
            "",
            *_end(),
        ]
    )


def _end() -> Iterator[str]:
    yield from ("## Limits", "", LIMITS, "", "## How to verify it", "", VERIFY, "")


def _figures(found: CohortFigures) -> str:
    shares = [grades[Grade.RIGHT] for grades in (found.base, found.candidate)]
    base, candidate = (f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]" for share in shares)
    return f"| {found.cohort.value} | {base} | {candidate} | {found.n} |"


def _documents(provenance: Provenance) -> Iterator[str]:
    for document in provenance.documents:
        yield f"| {_harmless(document.path)} | {document.rows} | {document.role.value} | `{document.digest}` |"


def _harmless(name: str) -> str:
    """A file's name, which is untrusted text, on one line and without markup."""
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", shortened(name))
