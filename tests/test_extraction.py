"""Facts: each kind of structure gives the fact it states, and ambiguity gives none."""

import pytest

from data.collection import as_collection
from data.documents import HOLE, parse
from data.extraction import Source, extract_facts, extract_statements
from data.params import Params, load_params
from data.records import Fact
from data.wordings import kinds
from data.workspace import PROJECT_ROOT

STREAM = PROJECT_ROOT / "data" / "streams" / "site-policy"


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(PROJECT_ROOT / "params.yaml")


def facts_of(text: str, params: Params) -> list[Fact]:
    source = Source("id", "digest", "Policy", parse(text, "policy.md").text)
    return list(extract_facts(source, params.synthesize))


CASES = [
    ("table", "| Name | Place |\n| - | - |\n| Fastly | United<br>States |", "Fastly", "Place", "United States"),
    ("definition", '"Fees" means the money we ask for.', "Fees", "meaning", "the money we ask for"),
    (
        "definition",
        "An “Appeal” is where a user disputes a decision.",
        "Appeal",
        "meaning",
        "where a user disputes a decision",
    ),
    (
        "quantity",
        "You must pay within thirty (30) days of the invoice.",
        "You must pay within ____ of the invoice.",
        "gap",
        "thirty (30) days",
    ),
    ("quantity", "A User must be at least 13 years old.", "A User must be at least ____.", "gap", "13 years old"),
    (
        "quantity",
        "Damages are limited to $1,000.50 in total.",
        "Damages are limited to ____ in total.",
        "gap",
        "$1,000.50",
    ),
    (
        "quantity",
        "It was last updated on February 7th 2024.",
        "It was last updated on ____.",
        "gap",
        "February 7th 2024",
    ),
    (
        "contact",
        "Please write to <privacy@example.com> for help.",
        "Please write to ____ for help.",
        "gap",
        "privacy@example.com",
    ),
    (
        "link",
        "Fill in [our appeal form](https://example.com/appeal).",
        "our appeal form",
        "address",
        "https://example.com/appeal",
    ),
    (
        "labelled",
        "# Data\n\n- Support Data: We collect what you send.",
        "Support Data",
        "Data",
        "We collect what you send",
    ),
    ("labelled", "# Data\n\n**Privacy.** We share little.", "Privacy", "Data", "We share little"),
    ("section", "## D. Rights\n\n### 3. Your Content\n\nText here.\n\nMore.", "D.3", "title", "Your Content"),
    ("content", "## 2.4 Telephone Number\n\nNone available.", "2.4 Telephone Number", "content", "None available"),
    (
        "listed",
        "We do not allow content that is:\n\n- spam;\n- malware; or\n- abuse.",
        "We do not allow content that is",
        "second",
        "malware",
    ),
    ("rule", "## Admins\n\nYou must appoint an admin.", "Admins", "You must", "appoint an admin"),
    (
        "condition",
        "If you have questions, please write to us.",
        "if you have questions",
        "consequence",
        "please write to us",
    ),
]


@pytest.mark.parametrize(("kind", "text", "subject", "attribute", "value"), CASES)
def test_every_kind(kind: str, text: str, subject: str, attribute: str, value: str, params: Params) -> None:
    found = [(f.subject, f.attribute, f.value) for f in facts_of(text, params) if f.kind == kind]
    assert (subject, attribute, value) in found


def test_the_cases_cover_every_kind() -> None:
    assert {kind for kind, *_ in CASES} | {"property"} == set(kinds())


def test_two_values_for_one_key_are_no_fact(params: Params) -> None:
    table = "| Name | Place |\n| - | - |\n| A | Rome |\n| A | Oslo |\n| B | Bonn |"
    assert [(f.subject, f.value) for f in facts_of(table, params)] == [("B", "Bonn")]


def test_what_is_too_long_or_has_a_hole_is_no_fact(params: Params) -> None:
    long = " ".join(["word"] * (params.synthesize.max_value_words + 1))
    assert not facts_of(f'"Fees" means {long}.', params)
    assert not facts_of('"Fees" means what {% data x %} says.', params)


def test_spans_lead_back_to_the_source(params: Params) -> None:
    text = parse("# Title\n\nFirst words.\n\nYou must pay within 14 days of the bill.\n", "a.md").text
    (fact,) = [f for f in extract_facts(Source("i", "d", "T", text), params.synthesize) if f.kind == "quantity"]
    assert text[fact.start : fact.end].strip() == "You must pay within 14 days of the bill."


def test_an_identity_outlives_its_value(params: Params) -> None:
    before, after = (facts_of(f"You must pay within {n} days of the bill.", params)[0] for n in (14, 30))
    assert before.id == after.id
    assert before.value != after.value


def test_the_real_year_gives_facts_and_no_template_tag(params: Params) -> None:
    _, sources = as_collection(STREAM / "2024-06-01", params.ingest)
    facts = [fact for source in sources for fact in extract_facts(source, params.synthesize)]
    statements = [s for source in sources for s in extract_statements(source)]
    assert (len(facts), len(statements)) == (1454, 3180)
    texts = [*(f.subject + f.attribute + f.value for f in facts), *(s.text for s in statements)]
    assert not [text for text in texts if HOLE in text or "{%" in text or "{{" in text]


def test_a_real_year_is_about_the_known_number_of_sentences(params: Params) -> None:
    """Counted otherwise, 666 sentences were new and 390 gone between 2023 and 2024."""
    old, new = (
        {s.text for source in as_collection(STREAM / day, params.ingest)[1] for s in extract_statements(source)}
        for day in ("2023-06-01", "2024-06-01")
    )
    assert abs(len(new - old) - 666) < 40
    assert abs(len(old - new) - 390) < 40


def test_a_list_item_that_is_only_an_image_is_no_fact(params: Params) -> None:
    text = "Follow these three steps:\n\n- ![i](j.png)\n- look; and\n"
    assert [f.value for f in facts_of(text, params) if f.kind == "listed"] == ["look"]


def test_a_form_with_blanks_is_not_taken_for_a_question(params: Params) -> None:
    assert not [f for f in facts_of("Fill in ____ here and pay within 5 days of it.", params) if f.kind == "quantity"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Support is given twenty-four (24) hours per day.", ["twenty-four (24) hours"]),
        ("A file may have up to 1.5 GB, or 1.5% more.", ["1.5%"]),
        ("It takes one hundred fifty days to answer you.", []),
        ("Pay $5 or $1,000.50 within 21 days.", ["$5", "$1,000.50", "21 days"]),
    ],
)
def test_a_number_is_taken_whole_or_not_at_all(text: str, values: list[str], params: Params) -> None:
    assert [f.value for f in facts_of(text, params) if f.kind == "quantity"] == values


def test_an_address_keeps_its_brackets(params: Params) -> None:
    text = "Please read https://example.org/wiki/Fee_(law) (or https://example.org/fees)."
    found = [f.value for f in facts_of(text, params) if f.kind == "contact"]
    assert found == ["https://example.org/wiki/Fee_(law)", "https://example.org/fees"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["x" + "; and" * 9000, "e.g. A " * 9000, "- a" + " and," * 9000])
def test_no_text_makes_a_reader_hang(text: str, params: Params) -> None:
    facts_of(f"We name these three things:\n\n- {text}\n- two\n", params)
