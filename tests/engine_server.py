"""A small inference server in this process that speaks vLLM's protocol, and goes wrong in every way that it is told to.

It draws by whole forward passes, one token at a time: another route than that of the engine that learns.
``python -m tests.engine_server`` is a process of its own, which takes what vLLM's does, and does without what it is not
told, as vLLM does.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling, TransformersModel
from lap.engine.sampling import pick_tokens, token_logprobs
from lap.lora import LoraSettings
from lap.remote.client import Address
from lap.remote.connect import connect, on_engines
from lap.remote.split import SplitModel
from tests.checkpoints import tiny_model
from tsmg import Stream


class FakeEngine:
    """A server of one checkpoint.

    Attributes: what it was asked (``asked``), and how it goes wrong: it keeps old weights (``stale``), draws at another
    temperature (``heat``), answers with the reply to another prompt (``swaps``), with other ids (``shift``), with text
    in place of ids (``says_text``), as another model (``says_model``), has another vocabulary (``tokenizer_shift``) or
    other control tokens (``control_shift``), forgets to reset (``keeps_cache``), sleeps (``hangs``, seconds), dies
    after so many replies (``lives``), takes no adapters above a rank (``max_rank``), or answers a path with a status
    (``statuses``).
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "base",
        context: int = 256,
        dtype: torch.dtype = torch.float32,
        place: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.base, self.dtype = TransformersModel.from_pretrained(folder, dtype=dtype), dtype
        self.name, self.context = name, context
        self.adapters: dict[str, TransformersModel] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.stale, self.swaps, self.says_text, self.keeps_cache = False, False, False, False
        self.heat, self.shift, self.hangs = 1.0, 0, 0.0
        self.tokenizer_shift, self.control_shift = 0, 0
        self.says_model, self.lives, self.replies, self.max_rank = "", 10**9, 0, 10**9
        self.statuses: dict[str, tuple[int, Any]] = {}
        self.before: list[int] | None = None
        self.lock = threading.Lock()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer({})

            def do_POST(self) -> None:
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, body: dict[str, Any]) -> None:
                status, content = engine.answer(self.path, body, dict(self.headers))
                if status == 0:  # dead
                    self.close_connection = True
                    return
                data = (
                    content.encode() if isinstance(content, str) else json.dumps(content).encode()
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(place, Handler)
        self.server.daemon_threads = True
        self.url = f"http://{place[0]}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == path]

    def answer(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any]:
        self.asked.append((path, {**body, "headers": headers}))
        if self.replies >= self.lives:
            return 0, ""
        if path in self.statuses:
            return self.statuses[path]
        if path == "/health":
            time.sleep(self.hangs)
            return 200, ""
        if path == "/v1/models":
            names = {self.name: None, **dict.fromkeys(self.adapters, self.name)}
            described = [
                {"id": name, "parent": parent, "max_model_len": self.context}
                for name, parent in names.items()
            ]
            return 200, {"data": described}
        if path == "/tokenize":
            ids = self.base.encoder.trusted(body["prompt"])
            return 200, {"tokens": [i + self.control_shift for i in ids]}
        if path == "/detokenize":
            size = len(self.base.tokenizer)
            ids = [(i + self.tokenizer_shift) % size for i in body["tokens"]]
            return 200, {"prompt": f" {self.base.encoder.decode(tuple(ids))}"}
        if path == "/v1/completions":
            time.sleep(self.hangs)
            with self.lock:  # it dies in the middle of what it was asked at once
                return self.complete(body) if self.replies < self.lives else (0, "")
        return self.load(path, body)

    def load(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/load_lora_adapter":
            if not Path(body["lora_path"]).is_dir():
                message = f"No adapter found for {body['lora_path']}"
                return 404, {"error": {"message": message}}
            adapters = json.loads((Path(body["lora_path"]) / "adapter_config.json").read_text())
            if adapters["r"] > self.max_rank:
                return 500, {"error": {"message": "LoRA rank is greater than max_lora_rank"}}
            loaded = TransformersModel.from_pretrained(body["lora_path"], dtype=self.dtype)
            old = next(reversed(self.adapters.values()), self.base)
            self.adapters[body["lora_name"]] = old if self.stale else loaded
            return 200, "Success"
        if path == "/v1/unload_lora_adapter":
            found = self.adapters.pop(body["lora_name"], None)
            return (200, "Success") if found else (404, {"error": {"message": "cannot be found"}})
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            if not self.stale:
                self.base = TransformersModel.from_pretrained(
                    body["kwargs"]["weights_path"], dtype=self.dtype
                )
            return 200, {"results": [None]}
        if path == "/reset_prefix_cache":
            return 200, {"success": not self.keeps_cache}
        return 404, {"detail": "Not Found"}

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = body["model"]
        if name != self.name and name not in self.adapters:
            return 404, {"error": {"message": f"The model `{name}` does not exist."}}
        model = self.adapters.get(name, self.base)
        asked = body["prompt"]
        prompt, self.before = (self.before or asked) if self.swaps else asked, asked
        ids, logprobs, reason = drawn(model, prompt, body, self.heat, self.context)
        self.replies += 1
        choice = {
            "text": model.encoder.decode(tuple(ids)),
            "token_ids": None if self.says_text else [i + self.shift for i in ids],
            "prompt_token_ids": asked,
            "logprobs": {"token_logprobs": logprobs},
            "finish_reason": reason,
        }
        return 200, {"model": self.says_model or name, "choices": [choice]}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@torch.no_grad()
def drawn(
    model: TransformersModel, prompt: list[int], body: dict[str, Any], heat: float, context: int
) -> tuple[list[int], list[float], str]:
    """A reply as vLLM draws it: cut without a word where the context ends."""
    sampling = Sampling(temperature=body["temperature"] * heat)
    rng, ids, logprobs = Stream("server", body["seed"]), [], []
    for l in range(min(body["max_tokens"], context - len(prompt))):
        logits_1_V = model.network(torch.tensor([[*prompt, *ids]])).logits[:, -1].float()
        logprobs_1_V = token_logprobs(logits_1_V, sampling)
        token = int(pick_tokens(logprobs_1_V, [rng.at(l)])[0])
        ids.append(token)
        logprobs.append(float(logprobs_1_V[0, token]))
        text = model.encoder.decode(tuple(ids))
        if token in body["stop_token_ids"] or any(stop in text for stop in body["stop"]):
            return ids, logprobs, "stop"
    return ids, logprobs, "length"


@contextmanager
def serving(folder: Path, count: int = 1, **settings: Any) -> Iterator[list[FakeEngine]]:
    """Servers of one checkpoint, closed at the end."""
    engines = [FakeEngine(folder, **settings) for _ in range(count)]
    try:
        yield engines
    finally:
        for engine in engines:
            engine.close()


def checkpoint(folder: Path, *, style: str = "plain") -> Path:
    """A tiny checkpoint with peaked distributions, whose replies differ by prompt."""
    tiny_model(style, sharp=4.0).save_pretrained(folder)
    return folder


def split_policy(
    folder: Path, engines: list[FakeEngine], *, lora: bool = True, timeout: float = 60.0
) -> LanguageAgentPolicy[SplitModel]:
    """A policy that plays on servers of a checkpoint and learns adapters, or all weights."""
    model = TransformersModel.from_pretrained(folder)
    model = model.with_lora(LoraSettings(r=4)) if lora else model
    policy = LanguageAgentPolicy(
        model=model,
        prompt=MemorylessPrompt(with_rules=False),
        sampling=Sampling(max_reply_tokens=6),
    )
    fleet = connect([Address.parse(engine.url) for engine in engines], timeout=timeout)
    for server in fleet.servers:
        server._client._pause = 0.01
    return on_engines(policy, fleet)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--max-lora-rank", type=int, default=16)
    # the other mode, vLLM's default, leaves the temperature out: it is not built here
    parser.add_argument("--logprobs-mode", choices=("processed_logprobs",), required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    declared = json.loads((given.model / "config.json").read_text())["dtype"]
    dtype = getattr(torch, declared if given.dtype == "auto" else given.dtype)
    engine = FakeEngine(
        given.model, name=str(given.model), dtype=dtype, place=(given.host, given.port)
    )
    if not given.enable_lora or os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") != "1":
        engine.statuses["/v1/load_lora_adapter"] = (404, {"detail": "Not Found"})
    engine.max_rank = given.max_lora_rank
    threading.Event().wait()


if __name__ == "__main__":
    main()
