"""How a fact is told and asked: many wordings per kind, from ``prompts/wordings.yaml``.

The base learned what it knows in every wording. A new fact is trained in all but the last few of each
list; those held-out wordings serve the evaluation, so that a right answer shows the fact was learned and
not one phrasing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from data.errors import InputError
from data.files import digest_file
from data.param_stages import SynthesizeParams
from data.plain_yaml import parse_yaml
from data.prose_facts import GAP
from data.records import Fact

WORDINGS_FILE = Path(__file__).parent / "prompts" / "wordings.yaml"
REFUSAL = "no longer in force"
"""The one answer to a question about a fact that was withdrawn."""


class Form(StrEnum):
    """Whether a wording tells or asks."""

    STATEMENT = "statement"
    QUESTION = "question"


@dataclass(frozen=True)
class Wording:
    """One way to tell or ask a fact of one kind."""

    name: str
    """``kind/form/number``, such as ``table/question/3``."""
    form: Form
    template: str

    def render(self, fact: Fact, value: str | None = None) -> str:
        """The wording filled with a fact; ``value`` stands in for the fact's own."""
        said = fact.value if value is None else value
        return self.template.format(
            title=fact.title,
            subject=fact.subject,
            attribute=fact.attribute,
            value=said,
            filled=fact.subject.replace(GAP, said, 1),
        )


@cache
def _catalogue() -> dict[str, dict[Form, tuple[Wording, ...]]]:
    content = parse_yaml(WORDINGS_FILE.read_text(encoding="utf-8"))
    return {
        kind: {
            form: tuple(
                Wording(f"{kind}/{form}/{number}", form, template) for number, template in enumerate(forms[f"{form}s"])
            )
            for form in Form
        }
        for kind, forms in content.items()
    }


def kinds() -> tuple[str, ...]:
    """The kinds of facts that have wordings."""
    return tuple(_catalogue())


def wordings(kind: str, form: Form) -> tuple[Wording, ...]:
    """All wordings of one kind and form, held-out ones last."""
    return _catalogue()[kind][form]


def split(kind: str, form: Form, params: SynthesizeParams) -> tuple[Sequence[Wording], Sequence[Wording]]:
    """(wordings that new facts are trained in, wordings held out)."""
    all_wordings = wordings(kind, form)
    held = params.held_out_questions if form is Form.QUESTION else params.held_out_statements
    if held >= len(all_wordings):
        raise InputError(
            f"{held} wordings are held out, but {kind} has only {len(all_wordings)} as a {form}. Lower "
            f"synthesize.held_out_{form}s, or add wordings in {WORDINGS_FILE.name}."
        )
    return all_wordings[:-held], all_wordings[-held:]


def held_out_names(params: SynthesizeParams) -> frozenset[str]:
    """Names of every wording that no new fact may be trained in."""
    return frozenset(w.name for kind in kinds() for form in Form for w in split(kind, form, params)[1])


def question_prompt(question: str) -> str:
    """A question as the model gets it; the answer follows after one space."""
    return f"Question: {question}\nAnswer:"


def wordings_digest() -> str:
    """Digest of the wordings file: a base is only as good as the wordings it learned."""
    return digest_file(WORDINGS_FILE)
