"""A scripted judge that looks at pixels, and made-up sets whose labels depend on images alone.

The right answer to "Which colour is it?" is the colour of the image; everything else is the same in all rows, so a
judge that sees the wrong image, or none, is right half of the time.
"""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.generate.pictures import png
from guerdon.testing.mock_server import MockRequest

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230), "yellow": (230, 220, 40)}
GREY = (128, 128, 128)


def square(colour: tuple[int, int, int], seed: int = 0, side: int = 6) -> bytes:
    """A PNG of a colour with some noise, another one for each seed."""
    rng = random.Random(f"{colour}/{seed}")
    return png([[tuple(v + rng.randint(-9, 9) for v in colour) for _ in range(side)] for _ in range(side)])


def colour_of(image: np.ndarray) -> str | None:
    """The name of an image's mean colour; None where there is nothing to see, or only grey."""
    if not image.size:
        return None
    mean = image.reshape(-1, 3).mean(0)
    near = {name: float(np.abs(mean - value).sum()) for name, value in {**COLOURS, "": GREY}.items()}
    return min(near, key=near.__getitem__) or None


def blocks(text: str) -> dict[str, str]:
    """Name -> what stands between the lines of that name in a judge's question."""
    found = re.findall(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", text, re.DOTALL)
    return {name: body for name, _, body in found}


def colours(request: MockRequest) -> dict[str, str]:
    """Name -> what is shown there, each ``[image k]`` replaced by the colour of the k-th image that came."""
    images = request.images

    def look(match: re.Match[str]) -> str:
        k = int(match[1]) - 1
        return (colour_of(images[k]) or "grey") if k < len(images) else "nothing"

    return {name: re.sub(r"\[image (\d+)\]", look, body) for name, body in blocks(request.text).items()}


def seeing(request: MockRequest) -> str:
    """Prefers the answer that names the colour of the request's image, or the image that the request names.

    Says yes to such an answer, and tie where it sees no difference; grades are 9 and 1.
    """
    shown = colours(request)

    def fits(answer: str) -> bool:
        return any(c in shown["request"] and c in answer for c in COLOURS)

    said: dict[str, Any]
    numbers = sorted(int(name.split()[1]) for name in shown if re.fullmatch(r"response \d+", name))
    if numbers:
        said = {"grades": [{"response": k, "grade": 9 if fits(shown[f"response {k}"]) else 1} for k in numbers]}
    elif "response" in shown:
        verdict = ("no", "yes") if "one of no, yes" in request.text else ("1", "9")
        said = {"verdict": verdict[fits(shown["response"])]}
    else:
        a, b = fits(shown["response A"]), fits(shown["response B"])
        said = {"verdict": "tie" if a == b else "A" if a else "B"}
    code = re.search(r'"verdict_code", which is (\w+)', request.text)
    assert code is not None
    before: dict[str, Any] = {"rationale": json.dumps(shown)}
    if '"critique"' in request.text:
        before = {"principles": [{"principle": "It names the colour.", "weight": 1}], "critique": ""}
    return json.dumps(before | said | {"verdict_code": code[1]})


IDS = ("wildvision-battle-{}", "RLAIF-V-{}", "mathverse_{}")
TURN = ("red", "red", "blue", "blue")


def vl_rows(n: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """Records of VL-RewardBench with the ``colour`` of the better answer for an image: red, red, blue, blue in turn."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        good, bad = TURN[i % 4], TURN[(i + 2) % 4]
        first = rng.randrange(2)
        answers = [f"It is {good}.", f"It is {bad}."]
        rows.append({
            "id": IDS[i % len(IDS)].format(i), "query": "<image>\nWhich colour is it?", "colour": good,
            "response": answers if first == 0 else answers[::-1], "human_ranking": [first, 1 - first],
        })  # fmt: skip
    return rows


def write_vl(folder: Path, n: int = 24, *, shift: int = 0) -> Path:
    """``data.jsonl`` and its images, of the item ``shift`` further on: 1 is right for every other item, 2 for none."""
    (folder / "images").mkdir(parents=True)
    rows = vl_rows(n)
    with (folder / "data.jsonl").open("w") as file:
        for i, row in enumerate(rows):
            colour = rows[(i + shift) % n]["colour"]
            (folder / "images" / f"{i}.png").write_bytes(square(COLOURS[colour], i))
            kept = {k: v for k, v in row.items() if k != "colour"}
            file.write(json.dumps(kept | {"image_path": f"images/{i}.png"}) + "\n")
    return folder
