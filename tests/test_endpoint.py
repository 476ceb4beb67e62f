"""The teacher behind an endpoint, against a real server on this machine, in good days and bad ones."""

import signal
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import InputError, OutsideError, RelearnError, SpentError
from data.prompting import UnusableError, read_questions, read_rephrasings
from data.workspace import PROJECT_ROOT
from tasks.candidate import flat_params
from tasks.conversation import Spending, converse
from tasks.replies import Reply, usual_case, worst_case
from tests.teacher_server import SENTENCES, Body, Teacher, calls, settings


def once(number: int, how: str) -> Callable[[int, Body], str]:
    return lambda request, _: how if request == number else "good"


def test_every_call_is_answered_once_and_from_the_cache_ever_after(teacher: Teacher, tmp_path: Path) -> None:
    params = settings(teacher, price_in=10.0, price_out=20.0)
    seen: list[Spending] = []
    replies = converse(calls(params), params, tmp_path, seen.append)
    assert len(teacher.requests) == len(SENTENCES) == len(replies)
    assert all(len(read_questions(reply.content).items) == 1 for reply in replies)
    assert (seen[-1].answered, seen[-1].of, seen[-1].spent.sent, seen[-1].spent.received) == (6, 6, 600, 300)
    assert seen[-1].money == pytest.approx((600 * 10 + 300 * 20) / 1e6)
    assert 1 <= teacher.most_at_once <= params.concurrency
    moved = params.model_copy(update={"url": "http://127.0.0.1:1/v1", "concurrency": 7})
    assert converse(calls(moved), moved, tmp_path) == replies
    assert len(teacher.requests) == 6
    for changes in ({"model": "other"}, {"temperature": 0.9}, {"max_tokens": 99}, {"questions": 3}):
        other = params.model_copy(update=changes)
        converse(calls(other)[:1], other, tmp_path)
    converse(calls(params, "rephrase")[:1], params, tmp_path)
    assert len(teacher.requests) == 6 + 5


def test_what_is_sent_is_the_passage_between_marks_with_a_schema(teacher: Teacher, tmp_path: Path) -> None:
    params = settings(teacher)
    converse(calls(params)[:1], params, tmp_path)
    (body,) = teacher.requests
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", params.max_tokens, params.temperature)
    assert body["response_format"]["json_schema"]["schema"]["additionalProperties"] is False
    assert body["messages"][1]["content"].count(SENTENCES[0]) == 1
    assert SENTENCES[1] not in str(body)


@pytest.mark.parametrize("how", ["429", "500", "503", "close", "cut", "hold"])
def test_what_passes_is_tried_again(how: str, teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave = once(1, how)
    params = settings(teacher, concurrency=1, timeout_seconds=2.0)
    spent: list[Spending] = []
    assert all(not reply.problem for reply in converse(calls(params), params, tmp_path, spent.append))
    assert len(teacher.requests) == len(SENTENCES) + 1
    lost = worst_case(calls(params)[1], params).total if how in ("close", "cut", "hold") else 0
    assert spent[-1].spent.total == 6 * 150 + lost  # what was cut off may have been charged


def test_a_server_that_asks_to_wait_is_waited_for(teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave, teacher.wait = once(0, "429"), "1.2"
    params = settings(teacher, concurrency=1)
    converse(calls(params)[:1], params, tmp_path / "short")
    assert teacher.times[1] - teacher.times[0] >= 1.2
    teacher.behave, teacher.wait = lambda number, _: "429", "7200"
    with pytest.raises(OutsideError, match="asks to wait 7200 s"):
        converse(calls(params)[:1], params, tmp_path / "long")
    assert len(teacher.requests) == 3, "two hours are for the next run"


USELESS = {"empty": "empty", "refusal": "refused", "length": "truncated", "broken_json": "", "wrong_schema": ""}


@pytest.mark.parametrize(("how", "problem"), USELESS.items())
def test_a_useless_answer_is_named_and_kept(how: str, problem: str, teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave = once(0, how)
    params = settings(teacher)
    for _ in range(2):
        reply, *_ = converse(calls(params)[:1], params, tmp_path)
        assert reply.problem == problem
        if not problem:
            with pytest.raises(UnusableError, match=how):
                read_questions(reply.content)
    assert len(teacher.requests) == 1


@pytest.mark.parametrize("how", ["500", "close", "html", "429"])
def test_a_server_that_does_not_answer_is_an_outside_failure_and_the_rest_is_kept(
    how: str, teacher: Teacher, tmp_path: Path
) -> None:
    teacher.behave = lambda number, _: "good" if number < 2 else how
    params = settings(teacher, concurrency=1, retries=0)
    with pytest.raises(OutsideError, match=r"2 of 6 calls are answered and kept.*same command again"):
        converse(calls(params), params, tmp_path)
    assert len(teacher.requests) == 5, "three failures in a row are enough"
    teacher.behave = lambda number, _: "good"
    assert len(converse(calls(params), params, tmp_path)) == 6
    assert len(teacher.requests) == 5 + 4


def test_nobody_listens(tmp_path: Path) -> None:
    params = settings(Teacher(url="http://127.0.0.1:9/v1"), retries=0)
    with pytest.raises(OutsideError, match=r"127\.0\.0\.1:9"):
        converse(calls(params), params, tmp_path)


@pytest.mark.parametrize(("status", "says"), [("401", "key"), ("403", "key"), ("404", "endpoint.model")])
def test_what_a_person_has_set_wrong_is_said_at_once(status: str, says: str, teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave = lambda number, _: status
    params = settings(teacher, concurrency=1)
    with pytest.raises(InputError, match=says):
        converse(calls(params), params, tmp_path)
    assert len(teacher.requests) == 1


@pytest.mark.parametrize("status", ["401", "404", "422", "500"])
def test_no_secret_stands_in_what_is_said(
    status: str, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", "the-key")
    teacher.behave = lambda number, _: status
    params = settings(teacher, concurrency=1, retries=0, key_variable="TEACHER_KEY")
    with pytest.raises(RelearnError, match=f"failure {status}.*Bearer") as caught:
        converse(calls(params), params, tmp_path)
    assert "the-key" not in str(caught.value)
    guarded = params.model_copy(update={"url": teacher.url.replace("//", "//me:the-word@")})
    with pytest.raises(RelearnError, match=rf"http://me:\*\*\*@127.*failure {status}") as caught:
        converse(calls(guarded), guarded, tmp_path)
    assert "the-word" not in str(caught.value)
    assert b64encode(b"me:the-word").decode() not in str(caught.value)
    assert "the-word" not in str(flat_params({"endpoint": guarded.model_dump()}))


def test_a_server_that_rejects_every_call_is_wrongly_set(teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave = lambda number, _: "422"
    params = settings(teacher, concurrency=1)
    with pytest.raises(InputError, match="failure 422 on demand"):
        converse(calls(params), params, tmp_path)


def test_one_rejected_passage_holds_nothing_up_and_is_asked_again(teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave = once(2, "400")
    params = settings(teacher, concurrency=1)
    replies = converse(calls(params), params, tmp_path)
    assert [reply.problem for reply in replies] == ["", "", "rejected", "", "", ""]
    assert not converse(calls(params), params, tmp_path)[2].problem
    assert len(teacher.requests) == 7


def test_a_server_without_json_schema_is_asked_without(teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave = lambda number, _: "no_schema"
    params = settings(teacher, concurrency=1)
    replies = converse(calls(params), params, tmp_path)
    assert all(read_questions(reply.content).items for reply in replies)
    assert len(teacher.requests) == len(SENTENCES) + 2, "found out once, then remembered"
    teacher.behave = lambda number, _: "fenced"
    rephrased = converse(calls(params, "rephrase"), params, tmp_path)
    assert all(read_rephrasings(reply.content).items for reply in rephrased)


def test_the_budget_is_never_exceeded_and_says_how_far_it_got(teacher: Teacher, tmp_path: Path) -> None:
    params = settings(teacher, concurrency=3, max_tokens=1000)
    worst = max(worst_case(call, params).total for call in calls(params))
    tight = params.model_copy(update={"budget_tokens": worst + 2 * 150})
    with pytest.raises(SpentError, match=r"3 of 6 calls are answered.*450 tokens.*endpoint\.budget"):
        converse(calls(tight), tight, tmp_path)
    assert len(teacher.requests) == 3
    poor = params.model_copy(update={"price_out": 1.0, "budget": 0.0})
    with pytest.raises(SpentError, match="0 of 6"):
        converse(calls(poor), poor, tmp_path / "other")
    assert len(teacher.requests) == 3, "what does not fit is not sent"
    assert len(converse(calls(params), params, tmp_path)) == 6
    assert len(teacher.requests) == 6, "the answers so far were kept"


def test_tokens_are_estimated_where_the_server_does_not_count_them(teacher: Teacher, tmp_path: Path) -> None:
    teacher.usage = 0
    params = settings(teacher)
    reply, *_ = converse(calls(params), params, tmp_path)
    usual, worst = usual_case(calls(params)[0], params), worst_case(calls(params)[0], params)
    assert reply.estimated
    assert reply.sent == usual.sent < worst.sent
    assert 0 < reply.received < worst.received


def test_a_damaged_file_of_the_cache_is_as_good_as_none(teacher: Teacher, tmp_path: Path) -> None:
    params = settings(teacher)
    replies = converse(calls(params), params, tmp_path)
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        file.write_bytes((b"", b"{", file.read_bytes()[:-9], b"\xff", b"[]", b'{"model": 1}')[number])
    assert converse(calls(params), params, tmp_path) == replies
    assert len(teacher.requests) == 12


def test_the_key_comes_from_the_environment_and_no_other_is_sent(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-this-server")
    params = settings(teacher)
    converse(calls(params)[:1], params, tmp_path)
    named = params.model_copy(update={"key_variable": "TEACHER_KEY"})
    with pytest.raises(InputError, match="TEACHER_KEY"):
        converse(calls(named), named, tmp_path)
    monkeypatch.setenv("TEACHER_KEY", "the-key")
    converse(calls(named)[:2], named, tmp_path)
    assert teacher.keys == ["Bearer none", "Bearer the-key"]
    assert not any("the-key" in file.read_text() for file in tmp_path.iterdir())


PROGRAM = """
import sys
from pathlib import Path
from tasks.conversation import converse
from tests.teacher_server import Teacher, calls, settings
params = settings(Teacher(url=sys.argv[1]), concurrency=1)
print(len(converse(calls(params), params, Path(sys.argv[2]))))
"""


def test_a_killed_run_repeats_no_answered_call(teacher: Teacher, tmp_path: Path) -> None:
    teacher.behave = once(4, "hold")
    run = [sys.executable, "-c", PROGRAM, teacher.url, str(tmp_path)]
    process = subprocess.Popen(run, cwd=PROJECT_ROOT)
    try:
        assert teacher.held.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not [file for file in tmp_path.iterdir() if file.suffix != ".json"]
    done = subprocess.run(run, cwd=PROJECT_ROOT, capture_output=True, check=True)
    assert done.stdout.split() == [b"6"]
    assert set(teacher.answered.values()) == {1}, "every call was answered, and paid for, exactly once"
    assert len(teacher.requests) == 7, "only the call under way at the kill is sent again"


def test_many_calls_are_under_way_at_once(teacher: Teacher, tmp_path: Path) -> None:
    together = threading.Barrier(len(SENTENCES))

    def when_all_are_there(number: int, _: Body) -> str:
        together.wait(timeout=60)
        return "good"

    teacher.behave = when_all_are_there
    params = settings(teacher, concurrency=len(SENTENCES), timeout_seconds=60.0)
    converse(calls(params), params, tmp_path)
    assert teacher.most_at_once == len(teacher.requests) == len(SENTENCES)


STORED = '{"content": "{\\"questions\\": []}", "model": "m", "received": 4, "schema": 1, "sent": 3}'
"""As version 0.1.0 wrote it."""
LATER = STORED.replace('"schema": 1', '"schema": 2, "reasoning": "Because."')


@pytest.mark.parametrize("stored", [STORED, LATER])
def test_an_answer_that_was_paid_for_is_read_by_every_version(stored: str, teacher: Teacher, tmp_path: Path) -> None:
    params = settings(teacher)
    converse(calls(params), params, tmp_path)
    for file in tmp_path.iterdir():
        file.write_text(stored)
    replies = converse(calls(params), params, tmp_path)
    assert {(reply.content, reply.sent, reply.received) for reply in replies} == {('{"questions": []}', 3, 4)}
    assert len(teacher.requests) == len(SENTENCES)


def test_a_reply_reads_back_as_it_was_written() -> None:
    reply = Reply(model="m", content='{"questions": []}', sent=3, received=4)
    assert Reply.model_validate_json(reply.model_dump_json(by_alias=True)) == reply
