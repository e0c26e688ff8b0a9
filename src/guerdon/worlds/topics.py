"""A small language about topics: texts with a sentiment, for rewards trained on a language model from scratch.

A text is a topic's name, then words of that topic, ``overall`` and one closing word. Some words are cues of the text's
sentiment; the cues differ from topic to topic, the closing words are shared by all. A language model that predicts
closing words therefore learns every topic's cues, and a reward fitted on a few topics can tell cues of the others only
by what the language model knew. The true log-odds of a positive sentiment are in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

NEUTRAL, CUES, CLOSINGS = 12, 6, 4  # words a topic, cue words a topic and side, closing words a side


@dataclass(frozen=True)
class Topics:
    """The language: ``body`` words a text, of which a share ``cue`` tells the sentiment, rightly with ``fidelity``.

    ``closing`` is the chance that the closing word has the text's sentiment.
    """

    topics: int = 8
    body: int = 6
    cue: float = 0.4
    fidelity: float = 0.85
    closing: float = 0.8

    @property
    def words(self) -> list[str]:
        """The vocabulary."""
        out = ["overall"] + [f"{side}{i}" for side in ("bad", "good") for i in range(CLOSINGS)]
        for t in range(self.topics):
            out += [f"topic{t}"] + [f"t{t}n{i}" for i in range(NEUTRAL)]
            out += [f"t{t}{side}{i}" for side in ("minus", "plus") for i in range(CUES)]
        return out

    def draw(self, topic: int, positive: bool, rng: np.random.Generator) -> tuple[str, float]:
        """(a response on ``topic``, its log-odds of a positive sentiment)."""
        odds, words = 0.0, []
        step = float(np.log(self.fidelity / (1 - self.fidelity)))
        for _ in range(self.body):
            if rng.random() >= self.cue:
                words.append(f"t{topic}n{rng.integers(NEUTRAL)}")
                continue
            up = (rng.random() < self.fidelity) == positive
            words.append(f"t{topic}{'plus' if up else 'minus'}{rng.integers(CUES)}")
            odds += step if up else -step
        up = (rng.random() < self.closing) == positive
        odds += float(np.log(self.closing / (1 - self.closing))) * (1 if up else -1)
        return " ".join([*words, "overall", f"{'good' if up else 'bad'}{rng.integers(CLOSINGS)}"]), odds

    def texts(self, count: int, topics: list[int], seed: int) -> list[tuple[str, str, float]]:
        """``count`` (prompt, response, log-odds) on ``topics``, half of each sentiment."""
        rng = np.random.default_rng([seed, 67])
        out = []
        for i in range(count):
            topic = topics[int(rng.integers(len(topics)))]
            out.append((f"topic{topic}", *self.draw(topic, i % 2 == 0, rng)))
        return out

    def comparisons(self, count: int, topics: list[int], seed: int, *, noise: float = 0.0) -> Feedback:
        """``count`` pairs of a positive and a negative text on one topic; a share ``noise`` of verdicts is wrong."""
        rng = np.random.default_rng([seed, 68])
        rows = []
        for _ in range(count):
            topic = topics[int(rng.integers(len(topics)))]
            pair = (self.draw(topic, True, rng)[0], self.draw(topic, False, rng)[0])
            wrong = rng.random() < noise
            order = (0, 1) if rng.random() < 0.5 else (1, 0)
            grades = tuple(float((i == 0) != wrong) for i in order)
            rows.append(Judgement(f"topic{topic}", tuple(pair[i] for i in order), grades))
        return Feedback.of(rows)

    def language_model(
        self, path: Path, seed: int, *, width: int = 64, layers: int = 2, count: int = 8000, epochs: int = 6
    ) -> Any:
        """A Llama trained from scratch on ``count`` texts of all topics, saved in ``path`` with its tokenizer."""
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        from guerdon.reward.learned.networks import Schedule, train

        vocabulary = {w: i for i, w in enumerate(["<pad>", "<eos>", *self.words])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
        config = LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            tie_word_embeddings=False,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
        texts = [f"{p} {r}" for p, r, _ in self.texts(count, list(range(self.topics)), seed)]
        ids = torch.tensor([fast(t)["input_ids"] for t in texts])

        def loss(rows: np.ndarray) -> torch.Tensor:
            batch = ids[torch.from_numpy(rows)]
            logits = model(input_ids=batch).logits[:, :-1]
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())

        train(list(model.parameters()), loss, count, Schedule(3e-3, 0.01, epochs, 128, seed=seed))
        model.eval().save_pretrained(path)
        fast.save_pretrained(path)
        return model
