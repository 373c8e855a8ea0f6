"""Games in the real libraries that they go out to: what is played there is what our own runner plays.

None of the libraries is a dependency of ours. With an environment that has one of them and this library:

    python -m pip install openenv-core      && python tests/benchmarks/hubs.py openenv
    python -m pip install trl               && python tests/benchmarks/hubs.py trl
    python -m pip install verifiers uv      && python tests/benchmarks/hubs.py verifiers
    python -m pip install stable-baselines3 && python tests/benchmarks/hubs.py stable-baselines3

Replies are scripted, so that nothing depends on a model; Stable-Baselines3 learns.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import games
import tsmg

FREE = re.compile(r"\b[1-9]\b")


def oxo():
    game = games.make("TicTacToe-v0")
    return game, "o", tsmg.UniformPlayer(game)


def first_free(board: str) -> str:
    """The least number on a board of tic-tac-toe."""
    return FREE.findall(board)[0]


def expected(seed: int) -> float:
    """The return of who takes the first free cell, as our own Gymnasium environment has it."""
    env = games.to_gymnasium(*oxo())
    _, info = env.reset(seed=seed)
    while True:
        _, reward, terminated, truncated, info = env.step(info["legal_texts"][0])
        if terminated or truncated:
            return reward


def served(app):
    """An application behind a port of its own."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.1)
    return server.servers[0].sockets[0].getsockname()[1]


def openenv() -> None:
    from openenv.core.generic_client import GenericEnvClient

    url = f"http://127.0.0.1:{served(games.to_openenv(*oxo()))}"
    clients = [GenericEnvClient(base_url=url).sync() for _ in range(4)]
    for client in clients:
        client.connect()
    seen = {n: client.reset(seed=n) for n, client in enumerate(clients)}
    assert [seen[n].observation["text"].count("free cell") for n in seen] == [2] * 4  # the rules
    total = dict.fromkeys(seen, 0.0)
    while playing := [n for n in seen if not seen[n].done]:  # all at once
        for n in playing:
            seen[n] = clients[n].step({"text": seen[n].observation["legal_texts"][0]})
            total[n] += seen[n].reward
    assert list(total.values()) == [expected(n) for n in total], total
    print(f"4 clients at once, returns {list(total.values())}: ok")


def trl() -> None:
    """GRPO on tic-tac-toe: the sampler is replaced by a script, everything else is TRL's own."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from trl import GRPOConfig, GRPOTrainer
    from trl import __file__ as home

    from lap.models.small import make_tokenizer

    template = (Path(home).parent / "chat_templates" / "qwen3.jinja").read_text()
    tokenizer = make_tokenizer([template, "<tool_call>act action"] * 3, 600)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"])
    tokenizer.chat_template = template
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    network = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip

    class Scripted(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *arguments, **keywords):
            told = [self.processing_class.decode(ids) for ids in prompt_ids]
            replies = []
            for text in told:
                if "The game is over." in text:
                    replies.append("Thank you.<|im_end|>")
                    continue
                board = text.rpartition("free cell.")[2].rpartition("<tool_response>")[2]
                call = json.dumps({"name": "act", "arguments": {"action": first_free(board)}})
                replies.append(f"<tool_call>\n{call}\n</tool_call><|im_end|>")
            return [
                self.processing_class.encode(r, add_special_tokens=False) for r in replies
            ], None

    ask = [{"role": "user", "content": "Play this game with the tool.\n"}]
    rows = pa.Table.from_pylist([{"prompt": ask, "seed": seed} for seed in range(6)])
    returns: list[float] = []

    def kept(environments, seed, **columns):
        returns.extend(environment.get_reward() for environment in environments)
        assert [environment.get_reward() for environment in environments] == list(
            map(expected, seed)
        )
        return [0.0] * len(seed)

    trainer = Scripted(
        model=network,
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(), max_steps=3, per_device_train_batch_size=4, num_generations=2,
            max_completion_length=1500, report_to=[], use_cpu=True, logging_steps=1, save_strategy="no",
            chat_template_kwargs={"enable_thinking": False},
        ),
        train_dataset=Dataset(InMemoryTable(rows), fingerprint="rows"),
        processing_class=tokenizer,
        environment_factory=games.to_trl(*oxo()),
        reward_funcs=kept,
    )  # fmt: skip
    trainer.train()
    logged = [line for line in trainer.state.log_history if "reward" in line]
    assert len(logged) == 3 and all(line["tools/failure_frequency"] == 0 for line in logged)
    print(f"{len(returns)} completions in 3 steps of GRPO, returns {returns}: ok")


def verifiers() -> None:
    """Its own evaluation command, against an endpoint whose model takes the first free cell."""
    from fastapi import FastAPI, Request, Response

    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: Request):
        said = [m["content"] for m in (await request.json())["messages"] if m["role"] == "user"]
        last = said[-1] if isinstance(said[-1], str) else said[-1][0]["text"]
        text = f"I take <action>{first_free(last.rpartition('free cell.')[2])}</action>"
        kind = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
        delta = {"role": "assistant", "content": text}
        chunks = [
            {**kind, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {**kind, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ]
        lines = [*map(json.dumps, chunks), "[DONE]"]
        return Response(
            "".join(f"data: {line}\n\n" for line in lines), media_type="text/event-stream"
        )

    port = served(app)
    with tempfile.TemporaryDirectory() as folder:
        module = (
            "import games, tsmg\n\ngame = games.make('TicTacToe-v0')\n"
            "Taskset, Env = games.to_verifiers(game, 'o', tsmg.UniformPlayer(game))\n"
            "__all__ = ['Env', 'Taskset']\n"
        )
        (Path(folder) / "oxo_game.py").write_text(module)
        here = str(Path(__file__).parents[2])
        subprocess.run(
            ["vf-eval", "oxo_game", "-m", "scripted", "-n", "4", "-r", "2", "--no-push", "-o", f"{folder}/out",
             "--client.base-url", f"http://127.0.0.1:{port}/v1", "--client.api-key-var", "ANY_KEY",
             "--env.player.runtime.type", "subprocess"],
            check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "ANY_KEY": "x", "PYTHONPATH": f"{folder}:{here}"},
        )  # fmt: skip
        (file,) = Path(folder).rglob("traces.jsonl")
        rollouts = [json.loads(line) for line in file.read_text().splitlines()]
    found = {}
    for rollout in (one for line in rollouts for one in line.get("traces", [line])):
        data = rollout["task"]["data"]
        found.setdefault(data["seed"], []).append(rollout["rewards"]["episode_return"]["score"])
        assert rollout["metrics"]["invalid_texts"] == 0
    assert found == {seed: [expected(seed)] * 2 for seed in range(4)}, found
    print(f"2 rollouts of each of 4 seeds, returns {found}: ok")


def stable_baselines3() -> None:
    """PPO learns a map of Frozen Lake; ``docs/how_to/exports.md`` has the same program."""
    import gymnasium
    import numpy as np
    from gymnasium.wrappers import TransformObservation
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy

    lake = games.make("FrozenLake-v0", map=("SFFF", "FHFH", "FFFH", "HFFG"))
    length, letters = 32, np.eye(128, dtype=np.float32)

    def env():
        made = games.to_gymnasium(lake, actions="index", max_length=length)
        box = gymnasium.spaces.Box(0, 1, (length * 128,), np.float32)
        return TransformObservation(
            made, lambda seen: letters[seen["observation"] % 128].ravel(), box
        )

    model = PPO("MlpPolicy", env(), n_steps=512, ent_coef=0.01, seed=0, device="cpu")
    before, _ = evaluate_policy(model, env(), 200, deterministic=False, warn=False)
    model.learn(12_288)
    after, _ = evaluate_policy(model, env(), 200, deterministic=False, warn=False)
    assert before < 0.2 and after > 0.9, (before, after)
    print(f"PPO, 12,288 steps: return {before:.3f} before, {after:.3f} after: ok")


if __name__ == "__main__":
    {
        "openenv": openenv,
        "trl": trl,
        "verifiers": verifiers,
        "stable-baselines3": stable_baselines3,
    }[sys.argv[1]]()
