"""The real Great Expectations on a small collection: bad is set aside with its reason, good is kept."""

import pytest

from data.errors import InputError, PersonNeededError
from data.expectations import CollectionShares, DocumentCheck, RowContext, occurs, plain
from data.param_operation import MOST_CHECKS
from data.param_stages import IngestParams
from data.params import load_params
from data.records import Row
from data.workspace import PROJECT_ROOT, Workspace
from tasks.validation import broken_rows, check_collection, check_documents, data_docs_index

PARAMS = load_params(PROJECT_ROOT / "params.yaml").ingest
GOOD = [
    DocumentCheck(f"{name}.md", name * 64, 900, None, 800, state, contacts=2)
    for name, state in zip("abcd", ("ok", "absent", "ok", "ok"), strict=True)
]
BAD = {
    "UTF-8": DocumentCheck("latin.md", "1" * 64, 900, "It is not UTF-8 text.", 0, "absent"),
    "bytes": DocumentCheck("huge.md", "2" * 64, PARAMS.max_bytes + 1, None, 9, "ok"),
    "It is empty": DocumentCheck("nothing.md", "7" * 64, 0, None, 1, "absent"),
    "nothing but links": DocumentCheck("links.md", "8" * 64, 900, None, 800, "ok", links_only=True),
    "'<|im_start|>'": DocumentCheck("spell.md", "9" * 64, 900, None, 800, "ok", instruction="<|im_start|>"),
    "characters": DocumentCheck("empty.md", "3" * 64, 10, None, PARAMS.min_characters - 1, "absent"),
    "same content as a.md": DocumentCheck("copy.md", "a" * 64, 900, None, 800, "ok", duplicate_of="a.md"),
    "not YAML": DocumentCheck("front.md", "4" * 64, 900, None, 800, "the front matter is not YAML"),
    "GitHub Token": DocumentCheck("leak.md", "5" * 64, 900, None, 800, "ok", secrets=("GitHub Token",)),
}
TEXT = "| Item | Fee |\n| --- | --- |\n| Late **filing** | [$15 per day](/fees) |\n\nAnswer within 15 days.\n"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


def _row(**changes: object) -> Row:
    row = Row(
        prompt="What is the fee for late filing?",
        completion="$15 per day.",
        purpose="fact",
        wording="table/question/1",
        fact="fee",
        document="fees",
        digest="f" * 64,
        start=0,
        end=len(TEXT),
        recipe="facts",
        teacher="template",
        seed=1,
    )
    return row.model_copy(update=changes)


def test_each_bad_document_is_set_aside_for_its_one_reason(workspace: Workspace) -> None:
    quarantined = check_documents(workspace, [*GOOD[:2], *BAD.values(), *GOOD[2:]], PARAMS)
    assert [document.path for document in quarantined] == [check.path for check in BAD.values()]
    for document, reason in zip(quarantined, BAD, strict=True):
        assert len(document.reasons) == 1
        assert reason in document.reasons[0]


def test_every_reason_of_a_document_is_told(workspace: Workspace) -> None:
    check = DocumentCheck("worst.md", "6" * 64, 9, None, 2, "a bad front matter", "a.md", ("Private Key",))
    (document,) = check_documents(workspace, [check], PARAMS)
    assert len(document.reasons) == 4


def test_limits_are_the_parameters_in_force_and_nothing_lingers(workspace: Workspace) -> None:
    strict = PARAMS.model_copy(update={"max_bytes": 899})
    assert len(check_documents(workspace, GOOD, strict)) == len(GOOD)
    assert check_documents(workspace, GOOD, PARAMS) == ()


def test_data_docs_name_the_suite_and_nothing_is_sent(workspace: Workspace) -> None:
    check_documents(workspace, GOOD, PARAMS)
    index = data_docs_index(workspace)
    assert index.is_relative_to(workspace.data_docs)
    assert "documents" in index.read_text(encoding="utf-8")
    page = max((index.parent / "validations" / "documents").rglob("*.html"))
    assert "Holds no secret." in page.read_text(encoding="utf-8")
    configuration = workspace.data_docs / "gx" / "great_expectations.yml"
    assert "analytics_enabled: false" in configuration.read_text(encoding="utf-8")


def test_a_project_left_half_written_is_made_anew(workspace: Workspace) -> None:
    check_documents(workspace, GOOD, PARAMS)
    for name in ("great_expectations.yml", "expectations/documents.json", "checkpoints/documents.json"):
        half = workspace.data_docs / "gx" / name
        half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
        assert len(check_documents(workspace, [*GOOD, BAD["UTF-8"]], PARAMS)) == 1
        assert data_docs_index(workspace).is_file()


def test_old_results_make_way_for_new_ones(workspace: Workspace) -> None:
    check_documents(workspace, GOOD, PARAMS)
    kept = workspace.data_docs / "gx" / "uncommitted" / "validations" / "documents" / "__none__"
    for day in range(MOST_CHECKS + 5):
        (kept / f"20000101T{day:06}.000000Z").mkdir()
    newest = max(kept.iterdir())
    check_documents(workspace, GOOD, PARAMS)
    assert len(list(kept.iterdir())) == MOST_CHECKS
    assert newest.is_dir()


def test_half_the_collection_gone_waits_for_a_person(workspace: Workspace) -> None:
    half = CollectionShares(found=5, quarantined=0, accepted=10, lost=5)
    with pytest.raises(PersonNeededError, match="--accept-loss --reason") as caught:
        check_collection(workspace, half, PARAMS, loss_accepted=False)
    assert "5 of 10" in str(caught.value)
    (warning,), accepted = check_collection(workspace, half, PARAMS, loss_accepted=True)
    assert accepted
    assert "accepted" in warning
    fewer = CollectionShares(found=6, quarantined=0, accepted=10, lost=4)
    assert check_collection(workspace, fewer, PARAMS, loss_accepted=False) == ((), False)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (CollectionShares(found=10, quarantined=3), "3 of 10 documents are quarantined"),
        (CollectionShares(found=0, quarantined=0), "no usable document"),
        (CollectionShares(found=2, quarantined=2), "no usable document"),
    ],
)
def test_a_collection_that_cannot_be_used_stops_the_run(
    workspace: Workspace, shares: CollectionShares, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_collection(workspace, shares, PARAMS, loss_accepted=True)


def test_many_changes_are_only_a_warning_and_a_zero_limit_needs_a_loss(workspace: Workspace) -> None:
    params: IngestParams = PARAMS.model_copy(update={"max_lost_share": 0.0})
    changed = CollectionShares(found=10, quarantined=2, accepted=10, changed=10)
    (warning,), accepted = check_collection(workspace, changed, params, loss_accepted=False)
    assert not accepted
    assert "10 of 10" in warning


def test_bad_rows_are_dropped_and_counted_and_good_ones_keep_their_order(workspace: Workspace) -> None:
    good = [_row(), _row(prompt="Fee?"), _row(purpose="replay", wording="kept/1", prompt="Old?")]
    good.append(_row(prompt="", completion="Answer soon.", purpose="statement", fact="", wording=""))
    bad = {
        "schema": _row(purpose="chatter"),
        "empty": _row(purpose="replay", completion=" \n"),
        "length": _row(prompt="Long? " * 50),
        "held_out": _row(wording="kept/1"),
        "unsupported": _row(fact="invented", completion="$99 per day"),
        "duplicate": _row(wording="table/question/2"),
    }
    context = RowContext({"fees": TEXT}, 200, frozenset({"kept/1"}), {"fee": "$15 per day", "invented": "$99"})
    rows = [bad["held_out"], *good, *bad.values()]
    broken = broken_rows(workspace, rows, context)
    assert [row for number, row in enumerate(rows) if number not in broken] == good
    assert [broken[number] for number in sorted(broken)] == ["held_out", *bad]


def test_what_fails_twice_counts_once_and_no_rows_are_no_failure(workspace: Workspace) -> None:
    context = RowContext({"fees": TEXT}, 200, values={"fee": "$15 per day"})
    wrong = _row(completion="", start=9, end=1)
    assert broken_rows(workspace, [wrong], context) == {0: "schema"}
    assert broken_rows(workspace, [], context) == {}


@pytest.mark.parametrize(
    ("value", "supported"),
    [
        ("$15 per day", True),
        ("15 days", True),
        ("Late filing", True),
        ("5 days", False),
        ("15 day", False),
        ("$15 per week", False),
        ("", False),
    ],
)
def test_a_value_is_supported_by_whole_words_whatever_the_markup(value: str, supported: bool) -> None:
    assert occurs(plain(value), plain(TEXT)) is supported


def test_templates_of_the_pages_are_translated_once(workspace: Workspace) -> None:
    from tasks.data_docs import _TRANSLATED

    check_documents(workspace, GOOD, PARAMS)
    translated = dict(_TRANSLATED.known)
    check_documents(workspace, GOOD, PARAMS)
    assert translated
    assert _TRANSLATED.known.keys() == translated.keys()
    assert all(_TRANSLATED.known[name] is code for name, code in translated.items())
