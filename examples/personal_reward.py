"""Fit a personal reward, add a new person from ten votes, and see how much that is worth.

    python examples/personal_reward.py [FEEDBACK]

FEEDBACK is any file guerdon reads whose judgements say who judged; the bundled example by default.
"""

import sys

import guerdon
from guerdon.bench.shots import shot_curve
from guerdon.worlds.example import example_feedback


def main() -> None:
    feedback = guerdon.Feedback.read(sys.argv[1]) if len(sys.argv) > 1 else example_feedback()
    train, unseen = feedback.split("user", holdout=0.3, seed=0)  # nobody is on both sides

    reward = guerdon.LowRankReward().fit(train)
    print(f"fitted to {reward.summary['people']} people, {reward.summary['rank']} basis utilities")

    curve = shot_curve(reward, unseen, shots=(2, 10), seed=0)
    for point in curve.points:
        print(f"{point.shots:3d} votes of an unseen person: accuracy {point.people['accuracy']}")

    # one new person: ten votes, then scores of their own
    name = unseen.users[unseen.user[0]]
    theirs = unseen.where(user=name)
    adapted = reward.adapt(theirs.take(range(10)))
    prompt, response = theirs.candidate(theirs.items[-1])
    answer = guerdon.Candidates([prompt], [response])
    scores = adapted.score(answer.asked_by(name))
    print(f"{name}: {scores.value[0]:+.2f} ± {scores.std[0]:.2f}   anybody: {adapted.score(answer).value[0]:+.2f}")


if __name__ == "__main__":
    main()
