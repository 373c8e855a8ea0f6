"""The client of endpoints: whatever a server answers, there is a reply of the right types or one declared error."""

import json
import math
from typing import Any

import httpx2
import openai

from lap import EndpointModel, Prompt, Sampling, TagParser
from lap.prompts import Message, Segment
from tests.fuzz.guard import Case, declared, wrong
from tests.fuzz.source import Source, altered, damaged
from tsmg import Stream

MODULES = ("lap.models.endpoint",)
CASES = 20_000
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "<action>left</action>"},
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
_TYPES = (
    "application/json",
    "application/json; charset=utf-16",
    "text/html",
    "text/event-stream",
    "",
)
_STATUSES = (200, 200, 200, 200, 204, 400, 401, 404, 429, 500, 503)


class Answers(httpx2.BaseTransport):
    """A server in place: answers every request as it was last told."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, b"", {"Content-Type": "application/json"}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self.status, content=self.body, headers=self.headers)


def hostile(source: Source, answers: Answers) -> None:
    """The next answer: an ordinary one with parts altered, then damaged bytes now and then."""
    answers.status = source.choice(_STATUSES)
    answers.headers = {"Content-Type": source.choice(_TYPES) if source.one_in(4) else _TYPES[0]}
    answers.body = json.dumps(altered(source, ANSWER)).encode()
    if source.one_in(4):
        answers.body = damaged(source, answers.body)


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < math.inf


def prepare() -> Case:
    answers = Answers()
    model = EndpointModel("http://endpoint.invalid/v1", "m", concurrency=1, retries=0, api_key="k")
    model._client = openai.OpenAI(
        base_url=model.url, api_key="k", max_retries=0, http_client=httpx2.Client(transport=answers)
    )
    sampling = Sampling(max_reply_tokens=8, top_k=3, min_p=0.1)

    def ask(text: str) -> None:
        prompt = Prompt((Message("user", (Segment(text, trusted=False),)),))
        with declared():
            (completion,) = model.sample([prompt], [Stream("fuzz")], sampling=sampling)
            if type(completion.reply_text) is not str or type(completion.finished) is not bool:
                raise wrong("wrong", f"the record of a reply holds {completion.reply_text!r}")
            TagParser().parse(completion.reply_text)
        usage = model.usage
        if not all(map(is_count, (usage.requests, usage.prompt_tokens, usage.reply_tokens))):
            raise wrong("wrong", f"the count of tokens is {usage!r}")

    answers.body = json.dumps(ANSWER).encode()
    ask("the first request loads what the client needs")

    def case(source: Source) -> None:
        hostile(source, answers)
        ask(source.text())

    return case
