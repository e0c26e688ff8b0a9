"""MT-bench votes: which of two models answered better in turn 1 or 2, by people or by a judge model.

A table of votes (``question_id, model_a, model_b, turn, judge, winner``) and one of answers (``question_id, turns
[question, ...], answers {model: [answer, ...]}``). The prompt is the first question; the response in turn 2 is all
that follows it (first answer, second question, second answer), since the two models' first answers differ.
Reference: Zheng et al. 2023, arXiv:2306.05685.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guerdon.feedback.messages import Message
from guerdon.feedback.readers.formats import Row, RowError
from guerdon.feedback.readers.gather import Reading, gather
from guerdon.feedback.readers.labelled import decode
from guerdon.feedback.readers.layouts import File, Layout, with_fields
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

GRADES = {"a": (1.0, 0.0), "b": (0.0, 1.0), "=": (0.0, 0.0)}


def match(files: Sequence[File]) -> dict[str, File] | None:
    """Votes and answers; of several tables of votes the one that is named ``votes``, else the first."""
    votes = [f for f in files if f.sample.has("question_id", "model_a", "model_b", "winner", "turn")]
    answers = with_fields(files, "question_id", "turns", "answers")
    votes.sort(key=lambda f: "votes" not in f.container.name)
    return {"votes": votes[0], "answers": answers} if votes and answers else None


def read(files: dict[str, File], reading: Reading) -> Feedback:
    """One judgement a vote."""
    questions = {row["question_id"]: row for _, row in files["answers"].rows()}

    def judge(row: Row) -> Iterable[Judgement]:
        question = questions.get(row.value("question_id"))
        if question is None:
            where = files["answers"].container.name
            raise RowError(
                "unknown-item", "question_id", f"no question {row.label('question_id')} in {where}", "add it"
            )
        turn = int(row.number("turn"))
        texts = tuple(_response(question, row.label(m), turn) for m in ("model_a", "model_b"))
        judged_by = row.label("judge") if "judge" in row else None
        yield Judgement(
            [{"role": "user", "content": question["turns"][0]}],
            texts,
            GRADES[decode(row.value("winner"), "winner", None)],
            user=judged_by,
            subset=f"turn {turn}",
            source="model" if judged_by and judged_by.startswith(("gpt", "claude")) else "human",
        )

    return gather(files["votes"].container, judge, reading, files["votes"].mapping)


def _response(question: Mapping[str, Any], model: str, turn: int) -> list[Message]:
    """The messages from the first answer to the answer of ``turn``."""
    answers = question["answers"].get(model)
    if answers is None or not 1 <= turn <= len(answers):
        message = f"no answer of {model} in turn {turn} to question {question['question_id']}"
        raise RowError("unknown-item", "model", message, "add it to the answers")
    out: list[Message] = [{"role": "assistant", "content": answers[0]}]
    for k in range(1, turn):
        out += [{"role": "user", "content": question["turns"][k]}, {"role": "assistant", "content": answers[k]}]
    return out


MT_BENCH = Layout(
    "mt-bench",
    "MT-bench votes",
    ("votes (question_id, model_a, model_b, turn, winner)", "answers (question_id, turns, answers)"),
    match,
    read,
)
