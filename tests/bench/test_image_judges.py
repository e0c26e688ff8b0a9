"""VL-RewardBench and Omni-RewardBench with a judge that looks, end to end: files, server, figures, command line.

The labels of the made-up sets depend on the images alone, so figures say whether the right image was looked at.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guerdon import load
from guerdon.bench.suites.omni_reward_bench import OMNI_REWARD_BENCH
from guerdon.bench.suites.run import run
from guerdon.bench.suites.vl_reward_bench import VL_REWARD_BENCH
from guerdon.testing import MockServer
from image_judge import COLOURS, TURN, seeing, square, vl_rows, write_vl
from run_cli import guerdon
from tiny_vision import tiny_llava


def measured(server: MockServer, folder: Path, options: str = "protocol=pairwise&sees=image") -> Any:
    reward = load(f"judge:{server.spec}?cache=off&{options}")
    return run(reward, VL_REWARD_BENCH, VL_REWARD_BENCH.feedback(folder), baselines=[], bootstrap=20)


@pytest.mark.parametrize("protocol", ["pairwise", "pointwise", "listwise&give=grades&scale=1-9&orders=2"])
def test_a_judge_that_looks_is_right_where_the_images_are(tmp_path: Path, protocol: str) -> None:
    """1 with the right images; exchanged between items, 1/2 where every other item has another colour, 0 where all."""
    with MockServer(seeing) as server:
        for shift, share in ((0, 1.0), (1, 0.5), (2, 0.0)):
            folder = write_vl(tmp_path / str(shift), shift=shift)
            result = measured(server, folder, f"protocol={protocol}&sees=image")
            assert result.figures["overall"].value == result.figures["macro"].value == share
            assert result.extra["no verdict"] == 0
            assert not [note for note in result.notes if "reads text only" in note]


def test_without_the_images_it_is_a_coin_with_a_caution(tmp_path: Path) -> None:
    with MockServer(seeing) as server:
        result = measured(server, write_vl(tmp_path / "vl"), "protocol=pairwise")
    assert result.extra["half: overall"] == 0.5
    assert result.extra["tied"] == 1.0
    assert any("reads text only and saw no image of 24 texts" in note for note in result.notes)


def test_images_inside_the_records_are_the_same_as_beside_them(tmp_path: Path) -> None:
    beside = write_vl(tmp_path / "beside")
    rows = []
    for i, row in enumerate(vl_rows()):
        raw = (beside / "images" / f"{i}.png").read_bytes()
        rows.append({k: v for k, v in row.items() if k != "colour"} | {"image": {"bytes": raw, "path": None}})
    inside = tmp_path / "inside"
    inside.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), inside / "test-00000-of-00001.parquet")
    bodies: list[set[str]] = []

    def reply(request: Any) -> str:
        bodies[-1].add(json.dumps(request.body, sort_keys=True))
        return seeing(request)

    with MockServer(reply) as server:
        for folder in (beside, inside):
            bodies.append(set())
            assert measured(server, folder).figures["overall"].value == 1.0
    assert bodies[0] == bodies[1]  # the very same requests, so the cache serves both


def test_a_missing_image_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    folder = write_vl(tmp_path / "vl")
    (folder / "images" / "3.png").unlink()
    with MockServer(seeing) as server:
        said = guerdon("bench", f"judge:{server.spec}?protocol=pairwise&sees=image", "vl-rewardbench", "--data", folder)
        assert said.code == 2
        assert "item 4 (wildvision-battle-3): image" in said.err.replace("\n", "")
        assert "no such file" in said.err
        assert server.calls == 0
        blind = guerdon("bench", f"judge:{server.spec}?protocol=pairwise", "vl-rewardbench", "--data", folder)
        assert blind.code == 0  # who does not look does not miss it


# ------------------------------------------------------------------------------------------------ Omni-RewardBench


def write_omni(folder: Path, *, shift: int = 0, n: int = 12) -> Path:
    """Text and image to text, text to image, and text and image to image, every fourth item a tie."""
    folder.mkdir()

    def part(i: int, colour: str) -> dict[str, Any]:
        return {"bytes": square(COLOURS[colour], i), "path": None}

    for task in ("text_image_to_text", "text_to_image", "text_image_to_image"):
        rows = []
        for i in range(n):
            good, bad = TURN[i % 4], TURN[(i + 2) % 4]
            label = ("response1", "response2")[(i // 2) % 2] if i % 4 < 3 else "tie"
            one, two = (good, bad) if label == "response1" else (bad, good) if label == "response2" else (good, good)
            moved = {"red": "blue", "blue": "red"} if shift else {}
            row: dict[str, Any] = {"id": f"{task}{i}", "criteria": "the right colour", "criteria_preference": label}
            if task == "text_image_to_text":
                row |= {"prompt": "Which colour?", "image": part(i, moved.get(good, good))}
                row |= {"response1": f"It is {one}.", "response2": f"It is {two}."}
            else:
                row |= {"prompt": f"Draw it in {good}." if task == "text_to_image" else "Draw it in this colour."}
                row |= {"image": part(i, good)} if task == "text_image_to_image" else {}
                row |= {"response1": part(i, moved.get(one, one)), "response2": part(i + 1, moved.get(two, two))}
            rows.append(row)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{task}.parquet")
    return folder


def test_omni_reward_bench_judges_prompts_and_responses_that_are_images(tmp_path: Path) -> None:
    right, wrong = write_omni(tmp_path / "right"), write_omni(tmp_path / "wrong", shift=1)
    with MockServer(seeing) as server:
        spec = f"judge:{server.spec}?protocol=pairwise&cache=off&sees=image"
        found = OMNI_REWARD_BENCH.measure(OMNI_REWARD_BENCH, spec, right, bootstrap=20)
        assert {k: f.value for k, f in found.figures.items()} == {
            "with ties": 1.0, "with ties, over items": 1.0, "without ties": 1.0, "without ties, over items": 1.0,
        }  # fmt: skip
        swapped = OMNI_REWARD_BENCH.measure(OMNI_REWARD_BENCH, spec, wrong, bootstrap=20)
        assert swapped.figures["without ties"].value == 0.0
        blind = OMNI_REWARD_BENCH.measure(
            OMNI_REWARD_BENCH, f"judge:{server.spec}?protocol=pairwise&cache=off", right, bootstrap=20
        )
        assert blind.facts["without a verdict"] == 24
        assert "the responses are image, which it does not see" in blind.reasons


# ------------------------------------------------------------------------------------------------ command line


def test_bench_from_the_command_line(tmp_path: Path) -> None:
    vl, omni = write_vl(tmp_path / "vl"), write_omni(tmp_path / "omni")
    with MockServer(seeing) as server:
        spec = f"judge:{server.spec}?protocol=pairwise&sees=image"
        said = guerdon("bench", spec, "vl-rewardbench", "--data", vl, "--json")
        assert said.code == 0, said.err
        assert said.json["figures"]["overall"]["value"] == 1.0
        asked = server.calls
        again = guerdon("bench", spec, "vl-rewardbench", "--data", vl, "--json")
        assert again.json["figures"] == said.json["figures"]
        assert server.calls == asked  # what was judged is kept
        said = guerdon("bench", spec, "omni-rewardbench", "--data", omni, "--json")
        assert said.code == 0, said.err
        assert said.json["figures"]["with ties"]["value"] == 1.0


def test_bench_with_a_local_vision_language_model(tmp_path: Path) -> None:
    vl = write_vl(tmp_path / "vl", n=6)
    spec = f"judge:hf:{tiny_llava(tmp_path / 'vlm')}?protocol=pairwise&device=cpu&min_mass=0"
    said = guerdon("bench", spec, "vl-rewardbench", "--data", vl, "--json")
    assert said.code == 0, said.err
    assert said.json["extra"]["no verdict"] == 0
    assert not [note for note in said.json["notes"] if "reads text only" in note]


def test_judge_from_the_command_line(tmp_path: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": str(tmp_path / "red.png")}}
    (tmp_path / "red.png").write_bytes(square(COLOURS["red"]))
    url = f"data:image/png;base64,{base64.b64encode(square(COLOURS['blue'])).decode()}"
    prompts = [
        [{"role": "user", "content": [part, {"type": "text", "text": "Which colour?"}]}],
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}],
            }
        ],
    ]
    rows = [{"prompt": prompt, "responses": ["It is red.", "It is blue."]} for prompt in prompts]
    file = tmp_path / "candidates.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with MockServer(seeing) as server:
        common = ("--lm", server.spec, "--set", "sees=image")
        said = guerdon("judge", file, *common)
        assert said.code == 0, said.err
        assert [row["scores"] for row in said.rows] == [[1.0, 0.0], [0.0, 1.0]]
        assert "bill: 4 calls" in said.err
        assert "4 images sent (0.0 MiB)" in said.err
        said = guerdon("judge", file, *common, "--pairwise")
        assert [int(np.argmax(row["scores"])) for row in said.rows] == [0, 1]
        assert said.rows[0]["prompt"] == prompts[0]  # as it was given
        (tmp_path / "red.png").unlink()
        gone = guerdon("judge", file, *common)
        assert gone.code == 2
        assert "candidates.jsonl:1: prompt: image" in gone.err.replace("\n", "")
        skipped = guerdon("judge", file, *common, "--skip-bad")
        assert [row.get("status") or row["statuses"] for row in skipped.rows] == ["invalid", ["scored", "scored"]]
