"""A language model behind a server, as a user meets it."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.generate import Budget, Sampling, ServerModel, load_language_model
from guerdon.testing import MockReply, MockRequest, MockServer


def opened(server: MockServer, **options: object) -> ServerModel:
    options = {"cache": "off", "first_wait": 0.005, **options}
    model = load_language_model(server.spec, **options)
    assert isinstance(model, ServerModel)
    return model


def test_draws_are_columnar_and_in_order() -> None:
    with MockServer() as server, opened(server) as model:
        replies = model.generate(["a", "b"], n=3, temperature=1.0)
        assert replies.text == [f"reply {d} to {p}" for p in "ab" for d in range(3)]
        assert replies.of(1).text == [f"reply {d} to b" for d in range(3)]
        assert replies.status == ["answered"] * 6
        assert replies.finish == ["stop"] * 6
        assert replies.answered.all()
        assert server.calls == 2, "one request draws all replies of a prompt"
        assert replies.cost["calls"] == 2
        assert replies.cost["prompt_tokens"] == 2
        assert replies.cost["completion_tokens"] == 6 * 4 == sum(r.completion_tokens for r in replies.rows)


@pytest.mark.parametrize("many", [False, None])
def test_draws_are_asked_one_by_one_where_the_server_draws_one(many: bool | None) -> None:
    with MockServer(many=many) as server, opened(server) as model:
        replies = model.generate(["a", "b"], n=3, seed=10)
        assert replies.text == [f"reply {10 + d} to {p}" for p in "ab" for d in range(3)]


def test_a_seed_gives_the_same_draws_asked_together_and_apart() -> None:
    texts = []
    for many in (True, False):
        with MockServer(many=many) as server, opened(server) as model:
            texts.append(model.generate(["a"], n=4, seed=3).text)
    assert texts[0] == texts[1]


def test_what_is_sent() -> None:
    sent: list[MockRequest] = []
    with MockServer(lambda r: sent.append(r) or "ok") as server, opened(server) as model:
        chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
        how = Sampling(temperature=0.0, top_p=0.9, max_tokens=7, stop=("\n",), seed=5, extra={"top_k": 3})
        model.generate([chat], sampling=how)
    assert sent[0].body == {
        "model": "mock", "messages": chat, "temperature": 0.0, "top_p": 0.9, "max_tokens": 7, "stop": ["\n"],
        "seed": 5, "top_k": 3,
    }  # fmt: skip


def test_identical_prompts_of_one_call_are_one_request() -> None:
    with MockServer() as server, opened(server) as model:
        assert model.generate(["a"] * 5 + ["b"]).text == ["reply 0 to a"] * 5 + ["reply 0 to b"]
        assert server.calls == 2


def test_identical_requests_at_the_same_time_are_one_flight() -> None:
    with MockServer(latency=0.2) as server, opened(server) as model:
        found: list[list[str | None]] = []
        threads = [threading.Thread(target=lambda: found.append(model.generate(["a", "b"]).text)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [["reply 0 to a", "reply 0 to b"]] * 4
        assert server.calls == 2


def test_works_inside_a_running_event_loop() -> None:
    with MockServer() as server, opened(server) as model:

        async def both() -> list[list[str | None]]:
            blocking = model.generate(["a"]).text
            waited = await asyncio.gather(*(model.agenerate([p]) for p in "xyz"))
            return [blocking, *(w.text for w in waited)]

        assert asyncio.run(both()) == [[f"reply 0 to {p}"] for p in "axyz"]


def test_logprobs() -> None:
    script = MockReply("no way", logprobs=[{"no": -0.1, "yes": -2.5, "No": -4.0}, {" way": -0.5}])
    with MockServer(lambda r: script) as server, opened(server) as model:
        given = model.generate(["a"], top_logprobs=2).logprobs[0]
        assert given is not None
        assert given.tokens == ["no", " way"]
        assert given.complete
        assert given.logprob.tolist() == [-0.1, -0.5]
        assert given.top[0] == {"no": -0.1, "yes": -2.5}
        assert model.generate(["a"]).logprobs == [None]


def test_truncated_logprobs_are_told_apart() -> None:
    with MockServer(lambda r: "four words in all", lasting={"short-logprobs": 1.0}) as server:
        replies = opened(server).generate(["a"], logprobs=True)
    given = replies.logprobs[0]
    assert given is not None
    assert not given.complete
    assert len(given.tokens) == 2
    assert replies.status == ["answered"]
    assert "do not cover" in str(replies.reason[0])


def test_a_server_without_logprobs_is_asked_without_and_says_so() -> None:
    with MockServer(logprobs=False) as server, opened(server) as model:
        replies = model.generate(["a", "b"], logprobs=True)
        assert replies.text == ["reply 0 to a", "reply 0 to b"]
        assert replies.reason == ["no log-probabilities in the reply"] * 2
        labels = model.label_probabilities(["a"], ["yes", "no"])
        assert labels.status == ["failed"]
        assert np.isnan(labels.value).all()


def test_label_probabilities_add_up_spellings_and_show_their_mass() -> None:
    top = {"Yes": np.log(0.5), " yes": np.log(0.2), "NO": np.log(0.1), "yesterday": np.log(0.15)}
    with MockServer(lambda r: MockReply("Yes", logprobs=[top])) as server, opened(server) as model:
        labels = model.label_probabilities(["a"], ["yes", "no"])
    assert labels.value[0] == pytest.approx([0.7, 0.1])
    assert labels.mass == pytest.approx([0.8])
    assert labels.normalized[0] == pytest.approx([0.875, 0.125])


def test_refusals_are_no_answers() -> None:
    with MockServer(lasting={"refusal": 1.0}) as server:
        replies = opened(server).generate(["a"])
    assert replies.status == ["refused"]
    assert replies.failures == {"the model refused": 1}
    assert replies.text == ["I cannot help with that."], "what was said is kept"
    with MockServer(lambda r: MockReply("", finish="content_filter")) as server:
        assert opened(server).generate(["a"]).status == ["refused"]


def test_tool_calls_and_cut_replies() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    with MockServer(lambda r: MockReply(None, finish="tool_calls", tool_calls=[call])) as server:
        row = opened(server).generate(["a"]).rows[0]
    assert (row.status, row.text, row.tool_calls, row.finish) == ("answered", "", [call], "tool_calls")


def test_the_only_model_is_found_and_others_are_named() -> None:
    with MockServer(model="org/one") as server:
        model = load_language_model(server.url, cache="off")
        assert model.generate(["a"]).text == ["reply 0 to a"]
        assert model.name == "org/one"
        with pytest.raises(BackendError, match="no model 'two' at"):
            load_language_model(f"{server.url}#two", cache="off").generate(["a"])
        with pytest.raises(BackendError, match="it often ends in /v1"):
            load_language_model(server.spec.replace("/v1", ""), cache="off").generate(["a"])


def test_no_server_is_one_clear_line() -> None:
    with MockServer() as server:
        spec = server.spec
    with pytest.raises(BackendError, match=r"cannot connect to http://127\.0\.0\.1:.*is the server running"):
        load_language_model(spec, cache="off").generate(["a", "b"])


def test_the_key_comes_from_the_environment_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GUERDON_API_KEY", raising=False)
    with MockServer(key="sk-very-secret") as server:
        with pytest.raises(BackendError, match="wants a key: set GUERDON_API_KEY"):
            opened(server).generate(["a"])
        monkeypatch.setenv("MY_KEY", "sk-wrong-one")
        with pytest.raises(BackendError, match="the key in MY_KEY is not accepted") as error:
            opened(server, api_key_env="MY_KEY").generate(["a"])
        assert "sk-wrong" not in str(error.value)
        assert "[key]" in str(error.value)
        monkeypatch.setenv("GUERDON_API_KEY", "sk-very-secret")
        with opened(server, cache=tmp_path / "c.db") as model:
            assert model.generate(["a"]).text == ["reply 0 to a"]
            assert "sk-" not in repr(model) + model.identity
        with pytest.raises(ConfigError, match="NOT_SET: this environment variable is not set"):
            opened(server, api_key_env="NOT_SET").generate(["a"])
    stored = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert b"reply 0 to a" in stored
    assert b"sk-very" not in stored
    assert "sk-" not in caplog.text
    with pytest.raises(ConfigError, match="does not belong in an address") as error:
        load_language_model("http://me:sk-secret@host/v1#m")
    assert "sk-secret" not in str(error.value)


def test_no_key_of_another_service_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUERDON_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert ServerModel("http://elsewhere/v1", "m", cache="off").endpoint.read_key() is None
    assert ServerModel("https://api.openai.com/v1", "m", cache="off").endpoint.read_key() == "sk-openai"


def test_bad_input_is_named() -> None:
    with MockServer() as server, opened(server) as model:
        for prompts, settings, error, match in [
            ("a text", {}, ConfigError, "in brackets"),
            ([[{"role": "nobody", "content": ""}]], {}, FeedbackError, r"prompts\[0\]\[0\].role"),
            (["a"], {"n": 0}, ConfigError, "n=0"),
            (["a"], {"temperature": -1}, ConfigError, "temperature=-1"),
            (["a"], {"top_logprobs": 50}, ConfigError, "from 0 to 20"),
            (["a"], {"heat": 1}, ConfigError, "no setting heat"),
        ]:
            with pytest.raises(error, match=match):
                model.generate(prompts, **settings)  # type: ignore[arg-type]
        assert model.generate([]).text == []
        assert server.calls == 0
        with pytest.raises(BackendError, match="hf:PATH"):
            model.loglikelihood(["a"], ["b"])
    for spec in ("gpt-4", "hf:", "ftp://x"):
        with pytest.raises(ConfigError, match="http://HOST:PORT/v1#MODEL or hf:PATH"):
            load_language_model(spec)
    with pytest.raises(ConfigError, match="has no option 'speed'"):
        load_language_model("http://x/v1#m", speed=1)


@pytest.mark.parametrize("limit", ["calls", "tokens", "money"])
def test_a_budget_stops_cleanly_and_keeps_what_is_done(limit: str, tmp_path: Path) -> None:
    # each call takes 1 token in and 4 out; 5 prompt and up to 4 reply tokens are set aside beforehand
    budget = {
        "calls": lambda: Budget(calls=10),
        "tokens": lambda: Budget(tokens=100),
        "money": lambda: Budget(money=1.0, price_in=10_000, price_out=10_000),
    }[limit]()
    prompts = [f"p{i}" for i in range(40)]
    with MockServer() as server:
        with opened(server, budget=budget, concurrency=4, cache=tmp_path / "c") as model:
            replies = model.generate(prompts, max_tokens=4)
            done = int(replies.answered.sum())
            assert replies.failures == {f"budget: no {limit} left": 40 - done}
            assert set(replies.status) == {"answered", "budget"}
            assert server.calls == done
            assert replies.cost["calls"] == done
            if limit == "calls":
                assert done == 10
            else:
                assert 5 <= done <= 20
                assert budget.spent_in + budget.spent_out <= 100
                assert budget.spent_money <= 1.0
            again = model.generate(prompts, max_tokens=4)
            assert again.text == replies.text
            assert again.cost["cached"] == done, "the cache costs nothing"
        with opened(server, cache=tmp_path / "c") as model:
            assert model.generate(prompts, max_tokens=4).answered.all()
            assert server.calls == 40, "only the rest is asked"


def test_money_needs_prices() -> None:
    with pytest.raises(ConfigError, match="price_in and price_out"):
        Budget(money=1.0)


def test_a_server_that_does_not_count_tokens_is_billed_by_estimate() -> None:
    with MockServer(usage=False) as server, opened(server, budget=Budget(tokens=10**6)) as model:
        cost = model.generate(["a", "b"]).cost
    assert cost["estimated"] == 2
    assert cost["completion_tokens"] > 0


def test_a_prompt_that_is_rejected_does_not_teach_that_n_is() -> None:
    with MockServer(lasting={"400": 0.5}, seed=1) as server, opened(server, concurrency=1) as model:
        prompts = [f"p{i}" for i in range(12)]
        bad = [server.lot([{"role": "user", "content": p}]) == "400" for p in prompts]
        replies = model.generate(prompts, n=2)
        assert replies.answered.tolist() == [not b for b in bad for _ in range(2)]
        assert 2 < sum(bad) < 10
        assert model.dialect.many is True


def test_names_of_fields_are_learnt_from_the_error() -> None:
    class Newer(MockServer):
        def _unknown_field(self, body: Mapping[str, Any]) -> str | None:
            return "'max_tokens', use 'max_completion_tokens' instead" if "max_tokens" in body else None

    with Newer() as server, opened(server) as model:
        assert model.generate([f"p{i}" for i in range(20)], max_tokens=5).answered.all()
        model.generate(["q"], max_tokens=5)
        assert server.seen["field"] <= 20
        assert server.calls - server.seen["field"] == 21


def test_a_call_that_is_cancelled_keeps_what_is_done_and_disturbs_nobody(tmp_path: Path) -> None:
    with MockServer(latency=0.1) as server, opened(server, cache=tmp_path / "c", concurrency=2) as model:

        async def cancelled() -> list[str | None]:
            first = asyncio.ensure_future(model.agenerate([f"p{i}" for i in range(10)]))
            await asyncio.sleep(0.25)
            other = asyncio.ensure_future(model.agenerate(["p0", "p9"]))  # p9 is in the hands of the first
            await asyncio.sleep(0.01)
            first.cancel()
            return (await asyncio.wait_for(other, 10)).text

        assert asyncio.run(cancelled()) == ["reply 0 to p0", "reply 0 to p9"]
        assert model.generate(["p0", "p1"]).cost["calls"] == 0
        assert server.calls < 8


IMPORTS = """
import sys, guerdon.generate, guerdon.testing
assert not {"torch", "numpy", "aiohttp", "transformers"} & set(sys.modules), sorted(sys.modules)
"""


def test_importing_costs_nothing() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
