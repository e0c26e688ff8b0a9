"""What a call to a language model server costs the client, and whether the client keeps a server as busy as it may.

    python -m benchmarks.lm_client [--calls N] [--concurrency C] [--peer-python PATH]

Cost: processor time of the client a call, against a mock server on loopback in a process of its own. The peer is the
``openai`` package (AsyncOpenAI) with the same number of calls at once; it is taken from ``--peer-python`` or this
interpreter, and skipped where it is not installed. The floor is aiohttp alone: the same bytes posted, the reply read,
nothing else done with it. guerdon's figure includes hashing, the cache, retries, limits and the bill; a second row
reads the same replies from the cache. Clients take turns, and the least of the rounds counts.

Throughput: C calls at once of a server that takes 0.5 s a call (a short reply of a small model) can do 2 C calls a
second; the figure is the share of that which was reached, beside that of aiohttp alone.

Targets: at least 3 times cheaper than the peer, at least 0.95 of the throughput.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

LATENCY = 0.5

SERVER = """
import sys
from guerdon.testing import MockServer
with MockServer(lambda r: "A reply of some words, as models write them. " * 4, latency=float(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""

FRAME = """
import asyncio, json, sys, time
url, calls, at_once, cache = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
prompts = [f"Question {i}: " + "which of these is better, and why? " * 20 for i in range(calls)]
def measure(work, warm):
    work(warm)
    cpu, wall = time.process_time(), time.perf_counter()
    n = work(prompts)
    assert n == calls, n
    print(json.dumps([(time.process_time() - cpu) / calls, time.perf_counter() - wall]))
async def spread(one, items):
    queue, done = iter(items), []
    async def work():
        for item in queue:
            done.append(await one(item))
    await asyncio.gather(*(work() for _ in range(at_once)))
    return sum(map(bool, done))
"""

CLIENTS = {
    "floor (aiohttp)": """
import aiohttp
loop = asyncio.new_event_loop()
async def work(items):
    async with aiohttp.ClientSession() as session:
        async def one(prompt):
            body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": prompt}]}).encode()
            async with session.post(url + "/chat/completions", data=body) as response:
                return await response.read()
        return await spread(one, items)
measure(lambda items: loop.run_until_complete(work(items)), ["warm"])
""",
    "guerdon": """
from guerdon.generate import load_language_model
model = load_language_model(url + "#mock", concurrency=at_once, cache=cache)
measure(lambda items: int(model.generate(items).answered.sum()), ["warm"])
""",
    "guerdon, cached": """
from guerdon.generate import load_language_model
model = load_language_model(url + "#mock", concurrency=at_once, cache=cache)
measure(lambda items: int(model.generate(items).answered.sum()), ["warm"])
assert model.generate(prompts).cost["calls"] == 0
""",
    "openai": """
import openai
client = openai.AsyncOpenAI(base_url=url, api_key="none")
loop = asyncio.new_event_loop()
async def work(items):
    async def one(prompt):
        reply = await client.chat.completions.create(model="mock", messages=[{"role": "user", "content": prompt}])
        return reply.choices[0].message.content
    return await spread(one, items)
measure(lambda items: loop.run_until_complete(work(items)), ["warm"])
""",
}


def timed(client: str, python: str, url: str, calls: int, at_once: int, cache: Path) -> tuple[float, float] | None:
    """(processor seconds a call, wall seconds in all) of a client in a process of its own; None if it is missing."""
    command = [python, "-c", FRAME + CLIENTS[client], url, str(calls), str(at_once), str(cache)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode and "No module named 'openai'" in ran.stderr:
        return None
    if ran.returncode:
        raise SystemExit(f"{client}: {ran.stderr}")
    cpu, wall = json.loads(ran.stdout)
    return cpu, wall


def served(latency: float) -> tuple[subprocess.Popen[str], str]:
    """A mock server in a process of its own, and its address."""
    command = [sys.executable, "-c", SERVER, str(latency)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has the openai package")
    args = parser.parse_args()
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        server, url = served(0.0)
        try:
            for turn in range(args.rounds):
                for client in CLIENTS:
                    python = args.peer_python if client == "openai" else sys.executable
                    took = timed(client, python, url, args.calls, args.concurrency, Path(folder) / f"{turn}.db")
                    if took is not None:
                        best[client] = min(best.get(client, took[0]), took[0])
        finally:
            server.communicate("")
        print(f"{'client':<20}{'ms CPU a call':>15}{'of the floor':>15}{'openai / it':>15}")
        for client, seconds in best.items():
            peer = f"{best['openai'] / seconds:.2f}" if "openai" in best else "-"
            print(f"{client:<20}{1e3 * seconds:>15.3f}{seconds / best['floor (aiohttp)']:>15.2f}{peer:>15}")
        if "openai" not in best:
            print(f"openai: skipped, {args.peer_python} does not have it (--peer-python names another interpreter)")
        server, url = served(LATENCY)
        calls = args.concurrency * 8
        allowed = args.concurrency / LATENCY
        reached: dict[str, list[float]] = {"guerdon": [], "floor (aiohttp)": []}
        try:
            for turn in range(args.rounds):
                for client, shares in reached.items():
                    took = timed(client, sys.executable, url, calls, args.concurrency, Path(folder) / f"t{turn}.db")
                    assert took is not None
                    shares.append(calls / took[1] / allowed)
        finally:
            server.communicate("")
    print(f"\n{'throughput':<20}{'best share':>15}{'rounds':>15}   of {allowed:.0f} calls/s")
    for client, shares in reached.items():
        print(f"{client:<20}{max(shares):>15.3f}   " + ", ".join(f"{share:.3f}" for share in sorted(shares)))


if __name__ == "__main__":
    main()
