"""Save a personal reward, open it again, and choose the best answers for two people.

    python examples/score_as_a_person.py [DIRECTORY]

The same on the command line: guerdon best DIRECTORY candidates.jsonl --user u0
"""

import sys
import tempfile

import numpy as np

import guerdon
from guerdon.steer.best_of_n import best_of_n
from guerdon.worlds.example import example_candidates, example_feedback


def main() -> None:
    directory = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="guerdon-")
    guerdon.LowRankReward(rank=3, l2=10.0).fit(example_feedback()).save(directory)
    reward = guerdon.load(directory)

    candidates = example_candidates()  # four answers each to prompts that nobody judged
    table = reward.score_table(candidates, list(reward.users))  # [candidates, people], all people at once
    alike = np.corrcoef(table.T)
    a, b = (reward.users[i] for i in np.unravel_index(alike.argmin(), alike.shape))
    print(f"the two people who agree least: {a} and {b} (correlation {alike.min():+.2f})\n")

    for for_a, for_b in list(zip(*(best_of_n(reward, candidates.asked_by(u)) for u in (a, b)), strict=True))[:3]:
        print(for_a.prompt)
        print(f"  {a}: {for_a.responses[0][:90]!r}, ahead by {for_a.margin:.1f}")
        print(f"  {b}: {for_b.responses[0][:90]!r}, ahead by {for_b.margin:.1f}")

    # somebody it does not know gets the population, and a flag that says so
    stranger = reward.score(candidates.take([0]).asked_by("somebody new"))
    print(f"\n{stranger.value[0]:+.2f} ± {stranger.std[0]:.2f}: {stranger.reason[0]}")


if __name__ == "__main__":
    main()
