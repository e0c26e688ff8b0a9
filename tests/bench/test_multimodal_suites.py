"""VL-RewardBench and Omni-RewardBench: published layouts, groups, ties, and rewards that do not see."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guerdon.bench.suites.media import part, shown, unseen
from guerdon.bench.suites.omni_reward_bench import OMNI_REWARD_BENCH, Verdicts, ask, credit, read, task_of
from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.run import run
from guerdon.bench.suites.vl_reward_bench import VL_REWARD_BENCH
from guerdon.bench.vote_rules import best_threshold, with_ties
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.baselines import Length

PNG, JPEG = b"\x89PNG\r\n\x1a\n0", b"\xff\xd8\xff\xe00"


def row(name: str, good: str = "good", bad: str = "bad", first: int = 0, **more: Any) -> dict[str, Any]:
    """A made-up record of VL-RewardBench; ``first`` is the rank of its first response."""
    answers = [good, bad] if first == 0 else [bad, good]
    ranks = [first, 1 - first]
    return {"id": name, "query": f"<image>\nWhat of {name}?", "response": answers, "human_ranking": ranks} | more


VL_ROWS = [
    row("wildvision-battle-1", image={"bytes": PNG, "path": None}),
    row("svit-complex_reasoning-1", image={"bytes": JPEG, "path": None}, first=1),
    row("hallucination_pair-1", image={"bytes": PNG, "path": None}),
    row("RLAIF-V-1", image={"bytes": PNG, "path": None}),
    row("RLHF-V-1", image={"bytes": PNG, "path": None}),
    row("mathverse_1", image={"bytes": PNG, "path": None}),
    row("mmmu_pro_test_Art_1", image={"bytes": PNG, "path": None}),
]


class Judge(Reward):
    """Compares: what it says of good against bad by a word of the question."""

    name = "judge"
    sees = ("image",)

    def __init__(self, said: dict[str, float]) -> None:
        self.said = said

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        value = []
        for prompt, left in zip(a.prompts, a.responses, strict=True):
            p = next((v for k, v in self.said.items() if k in as_text(prompt)), 1.0)
            value.append(p if left == "good" else 1 - p)
        return Scores(np.array(value))


def vl(folder: Path) -> Any:
    pq.write_table(pa.Table.from_pylist(VL_ROWS), folder / "vl_rewardbench.parquet")
    return VL_REWARD_BENCH.feedback(folder)


def test_records_become_messages_with_the_image_before_the_question(tmp_path: Path) -> None:
    feedback = vl(tmp_path)
    assert set(feedback.subsets) == {
        "general/WildVision", "general/VLFeedback", "hallucination/POVID", "hallucination/RLAIF-V",
        "hallucination/RLHF-V", "reasoning/MathVerse", "reasoning/MMMU-Pro",
    }  # fmt: skip
    second = list(feedback.judgements())[1]
    image, text = second.prompt[0]["content"]  # type: ignore[index]
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert text == {"type": "text", "text": "What of svit-complex_reasoning-1?"}
    assert second.responses[int(np.argmax(second.grades))] == "good"  # rank 0 is the better one
    assert as_text(second.prompt) == "[image_url: data:image/jpeg]\nWhat of svit-complex_reasoning-1?"
    assert shown(feedback) == {"image": 7}


def test_macro_is_over_groups_and_refusing_judges_are_seen_through_strict(tmp_path: Path) -> None:
    feedback = vl(tmp_path)
    judge = Judge({"RLAIF": 0.0, "RLHF": 0.5, "mathverse": float("nan")})
    result = run(judge, VL_REWARD_BENCH, feedback, baselines=[], bootstrap=20)
    figures = {k: f.value for k, f in result.figures.items()}
    assert figures == pytest.approx(
        {"overall": 4 / 5, "macro": (1 + 1 / 2 + 1) / 3, "general": 1.0, "hallucination": 0.5, "reasoning": 1.0}
    )
    assert result.extra == pytest.approx({
        "strict: overall": 4 / 7, "strict: macro": (1 + 1 / 3 + 1 / 2) / 3,
        "half: overall": 5 / 7, "half: macro": (1 + 1.5 / 3 + 1.5 / 2) / 3, "tied": 1 / 7, "no verdict": 1 / 7,
    })  # fmt: skip
    assert not [n for n in result.notes if "reads text only" in n]


def test_tied_scores_are_half_and_a_blind_reward_is_cautioned_about(tmp_path: Path) -> None:
    feedback = vl(tmp_path)
    result = run(Function(lambda p, r: 1.0, "same"), VL_REWARD_BENCH, feedback, baselines=[], bootstrap=0)
    assert result.headline[1].value == 0.5
    assert "same reads text only and saw no image of 7 texts" in result.notes


def test_images_by_path_are_found_beside_the_records(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(PNG)
    rows = [row("RLHF-V-1", image_path="images/a.png"), row("RLHF-V-2", image_path="https://example.org/b.png")]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = [j.prompt[0]["content"][0]["image_url"]["url"] for j in VL_REWARD_BENCH.feedback(tmp_path).judgements()]  # type: ignore[index]
    assert found == [str(tmp_path / "images" / "a.png"), "https://example.org/b.png"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"human_ranking": [0, 0]}, "ranks 0 and 1"),
        ({"image_path": None}, "no image"),
        ({"response": "good"}, "response: expected a list"),
    ],
)
def test_a_broken_record_is_named_with_its_line(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps(row("RLHF-V-1", image_path="a.png") | broken))
    with pytest.raises(FeedbackError, match=rf"data.jsonl:1: .*{message}"):
        VL_REWARD_BENCH.feedback(tmp_path)


def test_bytes_say_what_they_are() -> None:
    url = part("audio", b"RIFF0000WAVEfmt ", "here")["audio_url"]["url"]
    assert url.startswith("data:audio/wav;base64,")
    assert part("video", {"bytes": None, "path": "v.mp4"}, "here")["video_url"] == {"url": "v.mp4"}
    with pytest.raises(FeedbackError, match="here: no image"):
        part("image", "", "here")


# ------------------------------------------------------------------------------------------------ Omni-RewardBench


def omni(folder: Path, items: int = 24) -> Path:
    """Made-up files of three tasks: longer texts are better, a third of the items are ties of equal length."""
    for task in ("text_to_text", "text_image_to_text", "text_to_image"):
        rows = []
        for i in range(items):
            label = ("response1", "response2", "tie")[i % 3]
            short = 3 + i % 2
            one, two = "x" * (short if label == "response2" else 9), "y" * (short if label == "response1" else 9)
            more: dict[str, Any] = {"response1": one, "response2": two}
            if task == "text_to_image":
                more = {k: {"bytes": PNG, "path": None} for k in more} | {"response1_path": "a.png"}
            elif task == "text_image_to_text":
                more["image"] = {"bytes": PNG, "path": None}
            rows.append({
                "id": f"{task}-{i}", "prompt": f"prompt {i // 3}", "criteria": f"longer {i}",
                "criteria_preference": label, "model1": "m", "model2": "n", **more,
            })  # fmt: skip
        (folder / task).mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / task / "test-00000-of-00001.parquet")
    return folder


def test_ties_criteria_and_media_are_read(tmp_path: Path) -> None:
    feedback = read(sorted(omni(tmp_path).glob("*/test*.parquet")))
    assert len(feedback) == 72
    assert len(feedback.criteria) == 24
    rows = list(feedback.judgements())
    assert {tuple(r.grades) for r in rows} == {(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)}
    image = next(r for r in rows if r.subset == "text_to_image")
    assert image.responses[0][0]["content"][0]["type"] == "image_url"  # type: ignore[index]


def test_the_study_counts_ties_and_what_a_reward_does_not_see(tmp_path: Path) -> None:
    result = OMNI_REWARD_BENCH.measure(OMNI_REWARD_BENCH, "rule:length", omni(tmp_path), bootstrap=20)
    assert result.figures["with ties"].value == pytest.approx(2 / 3)  # images are not seen: no verdict is wrong
    assert result.subsets["text_to_text, with ties"].value == 1.0
    assert result.subsets["text_to_image, without ties"].value == 0.0
    assert result.facts["without a verdict"] == 24
    assert result.facts["ties"] == 24
    assert result.reasons == {"the responses are image, which it does not see": 24}
    random = next(b for b in result.baselines if b.name == "random").figures
    assert random["without ties"].value == 0.5
    assert random["with ties"].value == pytest.approx(1 / 3)
    assert any("saw no image" in note for note in result.notes)
    assert any("text_to_3D" in note for note in result.notes)


def test_a_seeing_reward_is_asked_about_images(tmp_path: Path) -> None:
    class Sees(Length):
        name, sees = "sees", ("image", "video", "audio")

    feedback = read(sorted(omni(tmp_path).glob("*/test*.parquet")))
    assert not np.isnan(ask(Sees(), feedback).gap).any()
    assert not unseen(Sees(), feedback)


def test_thresholds_come_from_other_items_and_judges_tie_themselves() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(-1, 2, 400).astype(float)
    gap = label + 0.5 * rng.normal(size=400)
    gap[0] = np.nan
    task = np.repeat([0, 1], 200)
    fair, tuned, strict = credit(Verdicts(gap, None, False), label, task, 0)  # type: ignore[arg-type]
    assert fair[0] == tuned[0] == 0.0  # no verdict is wrong
    assert fair.mean() < tuned.mean()
    known = slice(200, 400)
    assert tuned[known].mean() == with_ties(gap[known], label[known], best_threshold(gap[known], label[known])[0])
    assert np.isnan(strict[label == 0]).all()
    assert np.nanmean(strict) > 0.9
    own, same, _ = credit(Verdicts(np.array([0.5, 0.0, -0.1]), None, True), np.array([1.0, 0, 0]), np.zeros(3, int), 0)  # type: ignore[arg-type]
    assert own.tolist() == same.tolist() == [1, 1, 0]


def test_the_task_is_the_name_of_the_file_or_its_folder() -> None:
    assert task_of(Path("omni/text_to_3D_preferences.json")) == "text_to_3D"
    assert task_of(Path("omni/text_image_to_image/test-0.parquet")) == "text_image_to_image"
    with pytest.raises(FeedbackError, match="of no task"):
        task_of(Path("omni/other.json"))


def test_both_are_registered_and_say_what_to_get(tmp_path: Path) -> None:
    assert suite("omni-rewardbench") is OMNI_REWARD_BENCH
    with pytest.raises(ConfigError, match="MMInstruction/VL-RewardBench"):
        suite("vl-rewardbench").feedback(tmp_path)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="OmniRewardBench"):
        OMNI_REWARD_BENCH.measure(OMNI_REWARD_BENCH, "rule:length", tmp_path)
