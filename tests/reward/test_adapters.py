"""Rewards in other people's trainers: TRL for real, the others called exactly as they call (see each contract)."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fake_rewards
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.adapters import FromTRL, NemoEnvironment, for_openrlhf, for_trl, for_verifiers, for_verl
from guerdon.reward.baselines import Length
from guerdon.testing import check_reward

# --------------------------------------------------------------------------------------------------------------- TRL


class Letters:
    """An encoder of letter counts."""

    spec, fingerprint, dim = "letters", "letters-1", 26

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        texts = [r if isinstance(r, str) else r[-1]["content"] for r in candidates.responses]
        return np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], np.float32).reshape(-1, 26)


@pytest.fixture(scope="module")
def personal() -> Any:
    """A fitted personal reward: half of the people like vowels, the other half dislikes them."""
    from guerdon.reward.personal.low_rank import LowRankReward

    rng = np.random.default_rng(0)
    rows = []
    for person in range(12):
        sign = 1 if person % 2 else -1
        for _ in range(20):
            a, b = ("".join(rng.choice(list("aeioubcdfghklm"), 8)) for _ in range(2))
            better = sign * (sum(map(a.count, "aeiou")) - sum(map(b.count, "aeiou"))) + rng.normal(0, 0.3) > 0
            rows.append(Judgement("say it", (a, b), (1.0, 0.0) if better else (0.0, 1.0), user=f"person-{person}"))
    model = LowRankReward(encoder=Letters(), rank=1, l2=1.0, l2_basis=1.0, prior=1.0, item_effects="none")
    return model.fit(Feedback.of(rows))


def train(kind: str, folder: Path, reward_funcs: Any, columns: dict[str, list[Any]], **options: Any) -> Any:
    """A real run of three steps on a tiny model."""
    pytest.importorskip("trl")
    import trl
    from datasets import Dataset

    from tiny_models import tiny_causal_lm

    config = getattr(trl, f"{kind}Config")(
        output_dir=str(folder / "out"),
        max_steps=3,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=8,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        **options,
    )
    trainer = getattr(trl, f"{kind}Trainer")(
        model=str(tiny_causal_lm(folder / "lm")),
        reward_funcs=reward_funcs,
        args=config,
        train_dataset=Dataset.from_dict(columns),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_trl_trains_with_a_personal_reward(kind: str, tmp_path: Path, personal: Any) -> None:
    """The Reward itself goes in; the data set's user column reaches it; steps are taken on what it says."""
    calls: list[tuple[Candidates, np.ndarray]] = []
    score = personal.score

    def spying(candidates: Candidates) -> Any:
        scores = score(candidates)
        calls.append((candidates, scores.value))
        return scores

    personal.score = spying
    try:
        people = ["person-0", "person-1"] * 4
        columns = {"prompt": [f"say {i}" for i in range(8)], "user": people}
        trainer = train(kind, tmp_path, personal, columns)
    finally:
        del personal.score
    assert len(calls) == 3
    person_of = dict(zip(columns["prompt"], people, strict=True))
    for candidates, _ in calls:
        assert candidates.user is not None
        assert list(candidates.user) == [person_of[p] for p in candidates.prompts]
    logged = [row for row in trainer.state.log_history if "reward" in row]
    for row, (_, value) in zip(logged, calls, strict=True):
        assert row["reward"] == pytest.approx(value.mean(), abs=1e-4)
        assert row[f"rewards/{personal.name}/mean"] == pytest.approx(value.mean(), abs=1e-4)
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(tmp_path / "lm").state_dict()
    after = trainer.model.state_dict()
    assert any(not torch.equal(after[name].cpu(), before[name]) for name in before), "nothing was learned"


def test_trl_leaves_out_the_unscored_and_two_people_pull_in_two_directions(tmp_path: Path, personal: Any) -> None:
    """Chats, two bound copies of one reward with names of their own, and a reward that abstains now and then."""

    class Odd(Length):
        name = "odd"

        def score(self, candidates: Candidates) -> Any:
            value = super().score(candidates).value
            value[::2] = np.nan
            return type(super().score(candidates))(value)

    prompts = [[{"role": "user", "content": f"say {i}"}] for i in range(8)]
    funcs = [for_trl(personal, user="person-0"), for_trl(personal, user="person-1"), for_trl(Odd())]
    trainer = train("GRPO", tmp_path, funcs, {"prompt": prompts})
    row = next(row for row in trainer.state.log_history if "reward" in row)
    assert {"rewards/low-rank:person-0/mean", "rewards/low-rank:person-1/mean", "rewards/odd/mean"} <= set(row)
    assert row["odd/unscored"] == 0.5
    assert np.isfinite(row["reward"])
    first, second = row["rewards/low-rank:person-0/mean"], row["rewards/low-rank:person-1/mean"]
    assert first != second


def test_for_trl_gives_none_and_binds() -> None:
    ann = for_trl(fake_rewards.tastes("ann", "bob"), user="ann")
    assert ann.__name__ == "tastes:ann"
    texts = ["aaa", "eee"]
    assert ann(prompts=["p", "p"], completions=texts, user=["bob", "bob"], trainer_state=object()) == [3.0, 6.0]
    numbered = for_trl(fake_rewards.tastes("7", "8"))
    assert numbered(prompts=["p"], completions=["aaa"], user=[8]) == [6.0]
    assert for_trl(fake_rewards.Picky(), name="n")(prompts=["p"] * 2, completions=["ab", "banana"]) == [2.0, None]
    with pytest.raises(ConfigError, match="expected a Reward, got str"):
        for_trl("my-model")  # type: ignore[arg-type]


def test_trl_functions_are_rewards_too() -> None:
    from trl.rewards import think_format_reward

    reward = FromTRL(think_format_reward)
    completions = [[{"role": "assistant", "content": t}] for t in ("<think>a</think>b", "b")]
    assert reward.score(Candidates(["p", "p"], completions)).value.tolist() == [1.0, 0.0]
    check_reward(FromTRL(fake_rewards.trl_style))


# -------------------------------------------------------------------------------------------------------------- verl


def test_verl_one_completion_at_a_time_from_many_threads() -> None:
    """verl's reward loop calls with keyword arguments from a thread pool, one completion a call."""
    inside, most = [0], [0]

    class Busy(Length):
        def score(self, candidates: Candidates) -> Any:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            threading.Event().wait(0.002)
            inside[0] -= 1
            return super().score(candidates)

    compute_score = for_verl(Busy())
    results: dict[int, Any] = {}

    def call(i: int) -> None:
        results[i] = compute_score(
            data_source="d", solution_str="x" * i, ground_truth="4", extra_info={"question": "2+2", "num_turns": 2}
        )

    threads = [threading.Thread(target=call, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: {"score": float(i), "unscored": 0.0} for i in range(12)}
    assert most[0] == 1, "the reward was entered by two threads at once"


def test_verl_columns_and_the_unscored(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Candidates] = []

    class Spy(fake_rewards.Picky):
        def score(self, candidates: Candidates) -> Any:
            seen.append(candidates)
            return super().score(candidates)

    batch = for_verl(Spy(), batch=True, unscored=-1.0)
    chat = [{"role": "user", "content": "hi"}]
    with caplog.at_level(logging.WARNING):
        got = batch(
            data_sources=["d", "d"],
            solution_strs=["ab", "banana"],
            ground_truths=["4", None],
            extra_infos=np.array([{"prompt": "2+2", "user": "ann"}, {"prompt": np.array(chat)}], dtype=object),
            rollout_reward_scores=[],
        )
        batch(["d"], ["banana"], [None], [{"prompt": "p"}])
    assert got == [{"score": 2.0, "unscored": 0.0}, {"score": -1.0, "unscored": 1.0}]
    assert seen[0].prompts == ["2+2", chat]
    assert (seen[0].user, seen[0].reference) == (["ann", None], ["4", None])
    assert caplog.text.count("1 of 2 completions unscored (abstained: it says banana); they get -1") == 1
    assert len(caplog.records) == 1, "one warning is enough"
    with pytest.raises(ConfigError, match=r"extra_info has no 'prompt' \(it has: index\); write the prompt there"):
        for_verl(Length())("d", "x", "4", {"index": 3})
    assert for_verl(Length(), prompt_key="q")("d", "xx", "4", {"q": "p"})["score"] == 2.0


# ---------------------------------------------------------------------------------------------------------- OpenRLHF


def test_openrlhf() -> None:
    """Called with one query at a time: decoded prompt and response with special tokens, prompt, label."""
    seen: list[Candidates] = []

    class Spy(fake_rewards.Picky):
        def score(self, candidates: Candidates) -> Any:
            seen.append(candidates)
            return super().score(candidates)

    reward_func = for_openrlhf(Spy(), unscored=0.25)
    prompt = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    out = reward_func([f"{prompt}It is 4.<|im_end|>\n<|endoftext|>"], [prompt], ["4"])
    assert out["rewards"].dtype == torch.float32
    assert out["rewards"].tolist() == [8.0]
    assert 0 <= out["scores"].item() <= 1
    assert out["extra_logs"]["unscored"].tolist() == [0.0]
    assert (seen[0].prompts, seen[0].responses, seen[0].reference) == ([prompt], ["It is 4."], ["4"])

    label = json.dumps({"prompt": "2+2?", "user": "ann", "reference": "4"})
    out = reward_func([f"<s>{prompt}banana</s>", prompt + "no"], [prompt, prompt], [label, '{"a": 1}'])
    assert out["rewards"].tolist() == [0.25, 2.0]
    assert out["extra_logs"]["unscored"].tolist() == [1.0, 0.0]
    assert seen[1].prompts == ["2+2?", prompt]
    assert (seen[1].user, seen[1].reference) == (["ann", None], ["4", '{"a": 1}'])

    long = "word " * 500
    assert for_openrlhf(Length())([long[-600:] + "yes</s>"], [long], [None])["rewards"].tolist() == [3.0]
    assert for_openrlhf(Length(), bounded=True)(["px"], ["p"], [None])["scores"].tolist() == [1.0]
    with pytest.raises(ConfigError, match="does not contain its prompt"):
        reward_func(["another text"], ["prompt"], [None])


# ----------------------------------------------------------------------------------------------------------- NeMo-RL


def test_nemo_rl() -> None:
    """step() and the metrics as nemo_rl/environments/interfaces.py has them."""
    env = NemoEnvironment({"reward": "fake_rewards:Picky", "unscored": -2.0})
    tokens = torch.tensor([1, 2])
    logs = [
        [
            {"role": "user", "content": "2+2?", "token_ids": tokens},
            {"role": "assistant", "content": text, "token_ids": tokens},
        ]
        for text in ("It is 4.", "banana")
    ]
    metadata = [{"ground_truth": "4", "user": "ann"}, None]
    step = env.step(logs, metadata)
    assert step._fields == ("observations", "metadata", "next_stop_strings", "rewards", "terminateds", "answers")
    assert step.rewards.tolist() == [8.0, -2.0]
    assert step.rewards.dtype == torch.float32
    assert step.terminateds.tolist() == [True, True]
    assert step.metadata == metadata
    assert step.answers == ["It is 4.", "banana"]
    assert [o["role"] for o in step.observations] == ["environment"] * 2
    batch, metrics = env.global_post_process_and_metrics({"rewards": step.rewards})
    assert batch["rewards"] is step.rewards
    assert metrics == {"guerdon/mean_reward": 3.0, "guerdon/std_reward": 5.0, "guerdon/unscored": 0.5}
    assert env.global_post_process_and_metrics({"rewards": step.rewards})[1]["guerdon/unscored"] == 0
    with pytest.raises(ConfigError, match="no 'reward'"):
        NemoEnvironment({})
    with pytest.raises(ConfigError, match="must be the assistant's"):
        env.step([[{"role": "user", "content": "x"}]], [None])


# --------------------------------------------------------------------------------------------------------- verifiers


def inject(function: Any, offered: dict[str, Any]) -> Any:
    """Call as verifiers does: only what the function names, awaited."""
    import inspect

    names = inspect.signature(function).parameters
    return asyncio.run(function(**{k: v for k, v in offered.items() if k in names}))


class Message(SimpleNamespace):
    """Looks like a pydantic message."""

    def model_dump(self, exclude_none: bool = False) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if v is not None}


def test_verifiers_rubric_functions() -> None:
    function = for_verifiers(fake_rewards.tastes("ann", "bob"), name="taste")
    assert function.__name__ == "taste"
    offered = {
        "prompt": [{"role": "user", "content": "hi"}],
        "completion": [Message(role="assistant", content="aaa", tool_calls=None)],
        "answer": "4",
        "state": {"trajectory": []},
        "info": {"user": "bob"},
        "parser": object(),
        "task": None,
    }
    assert inject(function, offered) == 6.0
    assert inject(function, {**offered, "user": "ann"}) == 3.0
    assert inject(for_verifiers(fake_rewards.Picky(), unscored=-1), {"prompt": "p", "completion": "banana"}) == -1.0
    group = for_verifiers(fake_rewards.Duel(), group=True)
    offered = {"prompts": ["p"] * 2, "completions": ["a!", "b"], "answers": ["", ""], "infos": [{}, {}], "states": []}
    assert inject(group, offered) == [1.0, 0.0]


def test_verifiers_v1_hooks() -> None:
    data = SimpleNamespace(prompt="hi", system_prompt=None, user="bob", answer=4)
    trace = SimpleNamespace(last_reply="aaa", task=SimpleNamespace(data=data))
    offered = {"task": data, "trace": trace, "runtime": object()}
    assert inject(for_verifiers(fake_rewards.tastes("ann", "bob")), offered) == 6.0
    trace.last_reply = "banana"
    assert inject(for_verifiers(fake_rewards.Picky()), offered) == {}, "unscored is not recorded"
    seen: list[Candidates] = []

    class Spy(Length):
        def score(self, candidates: Candidates) -> Any:
            seen.append(candidates)
            return super().score(candidates)

    data.system_prompt = "be brief"
    inject(for_verifiers(Spy()), offered)
    data.prompt = [Message(role="user", content="hi")]
    inject(for_verifiers(Spy()), offered)
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert [c.prompts for c in seen] == [[chat], [chat]]
    assert seen[0].reference == [4]


def test_bound_rewards_travel_between_processes() -> None:
    from guerdon.reward.adapters.rater import Rater

    again = pickle.loads(pickle.dumps(Rater(Length(), "ann", None)))  # noqa: S301
    assert again.scores(["p"], ["abc"], [{}]).value.tolist() == [3.0]
    assert again.bound["user"] == "ann"
