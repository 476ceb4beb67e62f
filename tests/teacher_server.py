"""A server that speaks chat completions and answers from the passage by rule, with failures on demand."""

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from data.param_stages import EndpointParams
from data.params import load_params
from data.passages import passages
from data.prompting import Prompt, prompts
from data.records import Statement
from data.workspace import PROJECT_ROOT
from tests.local_server import served

Body = dict[str, Any]


@dataclass
class Teacher:
    """What the server does, and what it saw."""

    behave: Callable[[int, Body], str] = lambda number, body: "good"
    """Number of the request, from 0, and its body -> one of the behaviours of ``_Handler``."""
    url: str = ""
    requests: list[Body] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Of the requests, in seconds."""
    keys: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    """Prompt -> how often it got a completion."""
    most_at_once: int = 0
    at_once: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    """Set when a request is being held."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    wait: str = "0.05"
    """``Retry-After`` of a 429."""
    usage: int = 50
    """Tokens that each answer is said to have; 0: the server does not count them."""


@contextmanager
def teaching(teacher: Teacher) -> Iterator[Teacher]:
    """Serve on a free port of the loopback interface."""
    with served(_Handler, teacher=teacher) as address:
        teacher.url = f"{address}/v1"
        yield teacher


def by_rule(body: Body) -> Body:
    """The answer that a diligent teacher would give."""
    user = body["messages"][1]["content"]
    title = str(re.search(r"^Title: (.*)$", user, re.MULTILINE)[1])  # type: ignore[index]
    sentences = re.findall(r"^\[\d+\] (.*)$", user, re.MULTILINE)
    if '{"rephrased"' in user:
        return {"rephrased": [{"sentence": n, "texts": _told(title, s)} for n, s in enumerate(sentences, start=1)]}
    return {"questions": [_asked(title, sentence, number) for number, sentence in enumerate(sentences)]}


def _told(title: str, sentence: str) -> list[str]:
    return [f"By the {title}: {sentence}", f"{sentence} So says the {title}.", sentence]


def _asked(title: str, sentence: str, number: int) -> Body:
    """A question on how a sentence ends, or on how it begins, or with ends to choose from."""
    words = sentence.rstrip(".").split()
    kind = ("direct", "choice", "reverse")[number % 3]
    rest, answer = (words[2:], words[:2]) if kind == "reverse" else (words[:-2], words[-2:])
    given, right = " ".join(rest), " ".join(answer)
    wordings = [
        f"In {title}, what goes with: {given}?",
        f"{title}: which words has {given}?",
        f"{title}: {given} ... ?",
    ]
    choices = ["nothing at all", right, "something else"] if kind == "choice" else []
    return {"kind": kind, "wordings": wordings, "answer": right, "quote": sentence, "choices": choices}


class _Handler(BaseHTTPRequestHandler):
    """One behaviour per request: a failure, or a completion with something wrong in it."""

    protocol_version = "HTTP/1.1"
    teacher: Teacher

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        teacher = self.teacher
        with teacher.lock:
            number = len(teacher.requests)
            teacher.requests.append(body)
            teacher.times.append(time.monotonic())
            teacher.keys.append(self.headers.get("Authorization", ""))
            teacher.at_once += 1
            teacher.most_at_once = max(teacher.most_at_once, teacher.at_once)
        try:
            self._behave(teacher.behave(number, body), body)
        finally:
            with teacher.lock:
                teacher.at_once -= 1

    def _behave(self, how: str, body: Body) -> None:
        if how.isdigit():
            self._refuse(int(how))
        elif how == "hold":
            self.teacher.held.set()
            threading.Event().wait(60)
        elif how == "close":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif how == "no_schema" and "response_format" in body:
            self._send(400, b'{"error": {"message": "unknown field response_format"}}')
        else:
            self._complete(how, body)

    def _refuse(self, status: int) -> None:
        said = f"failure {status} on demand, with {self.headers.get('Authorization')}"
        content = json.dumps({"error": {"message": said}}).encode()
        self._send(status, content, {"Retry-After": self.teacher.wait} if status == 429 else {})

    def _complete(self, how: str, body: Body) -> None:
        answer = by_rule(body)
        content = json.dumps(answer)
        if how == "lie" and "questions" in answer:
            lies = [{**one, "answer": "a million dollars", "choices": []} for one in answer["questions"]]
            content = json.dumps({"questions": [{**one, "kind": "direct"} for one in lies]})
        contents = {"broken_json": content[:-7], "wrong_schema": '{"answers": []}', "empty": "  "}
        contents["fenced"] = f"<think>A {{brace}}.</think>Here you are:\n```json\n{content}\n```"
        message: Body = {"role": "assistant", "content": contents.get(how, content)}
        if how == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I would rather not."}
        completion: Body = {
            "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "length" if how == "length" else "stop"}],
        }  # fmt: skip
        if self.teacher.usage:
            completion["usage"] = {"prompt_tokens": 100, "completion_tokens": self.teacher.usage}
        text = b"<html>hello</html>" if how == "html" else json.dumps(completion).encode()
        with self.teacher.lock:
            self.teacher.answered[body["messages"][1]["content"]] += how != "cut"
        self._send(200, text, cut=how == "cut")

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut


SENTENCES = [f"Room number {number} is locked by the porter at {number} past ten." for number in range(6)]


def settings(teacher: Teacher, **changes: object) -> EndpointParams:
    """How this teacher is asked."""
    usual = {"url": teacher.url, "model": "m", "passage_characters": 10, "retries": 2, "timeout_seconds": 10.0}
    return load_params(PROJECT_ROOT / "params.yaml").endpoint.model_copy(update={**usual, "concurrency": 2, **changes})


def calls(params: EndpointParams, recipe: str = "questions") -> list[Prompt]:
    """One call for each of ``SENTENCES``."""
    told = [Statement(document="d", digest="x", start=0, end=9, title="Rooms", text=text) for text in SENTENCES]
    return prompts([recipe], passages(told, params.passage_characters), params)
