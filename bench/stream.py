"""What `Guard.stream` costs: model calls a token, how late text comes out, and CPU time beside one check at the end.

    python -m bench.stream --out bench/results/stream.json

The preset `chat` on `bench/proxies/stories.txt`, each text word by word. A token is one of the model's own tokenizer
(WordPiece); a call is a run of the full model, however many windows it holds, those after an edit included, and the
fast tier is off: it would hide them. Early is the share of harmful texts that ended before all of them was taken.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tokenizers import Tokenizer

from bench.tables import rendered
from guardkit import Guard
from guardkit.artifacts import Artifact, RunnerOptions, find_artifact
from guardkit.loop.held import HOLD
from guardkit.policy.load import load_preset
from guardkit.runtime.base import Arrays, Runner, RunnerInfo, open_runner
from guardkit.runtime.clock import Stop
from guardkit.types import Action

_PROXY = Path(__file__).parent / "proxies/stories.txt"
_LONG = 3  # harmless texts joined into one, for texts of several windows


class Counted:
    """A runner that counts its runs."""

    calls = 0

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @property
    def info(self) -> RunnerInfo:
        return self._runner.info

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        Counted.calls += 1
        return self._runner.run(inputs, stop=stop)


class Words:
    """A text word by word; how much of it was taken."""

    def __init__(self, text: str) -> None:
        self._words = re.findall(r"\s*\S+", text)
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        for word in self._words:
            self.taken += len(word)
            yield word


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/stream.json"))
    parser.add_argument("--most", type=int, default=60, help="texts of a kind")
    arguments = parser.parse_args()
    harmless, harmful = _texts()
    joined = [" ".join(harmless[at : at + _LONG]) for at in range(0, len(harmless), _LONG)]
    policy = load_preset("chat")
    policy = replace(policy, models={"text-safety": RunnerOptions(cascade=False)})
    guard = Guard(policy, open_runner=_counted)
    rows = [
        _row(guard, f"{what}, patience {patience}", texts[: arguments.most], patience)
        for what, texts in (
            ("harmless texts", harmless),
            (f"harmless texts, {_LONG} in one", joined),
            ("harmful texts", harmful),
        )
        for patience in (0, 2)
    ]
    models = [f"{info.name}@{info.version} {info.precision}" for info in guard.info()]
    found = {"models": models, f"preset chat, word by word, a check every {HOLD} characters": rows}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _texts() -> tuple[list[str], list[str]]:
    lines = [line for line in _PROXY.read_text("utf-8").splitlines() if " | " in line]
    rows = [line.split(" | ", 2) for line in lines if not line.startswith("#")]
    texts = [(labels.strip(), text.replace("\\n", "\n")) for labels, _, text in rows]
    return [text for labels, text in texts if labels == "-"], [text for labels, text in texts if labels != "-"]  # fmt: skip


def _counted(artifact: Artifact, options: RunnerOptions) -> Runner:
    return Counted(open_runner(artifact, options))


def _row(guard: Guard, what: str, texts: Sequence[str], patience: int) -> dict[str, Any]:
    tokenizer = _tokenizer()
    tokens = calls = complete = early = allowed = 0
    first_after: list[int] = []
    stream_s = once_s = 0.0
    for text in texts:
        before, source = Counted.calls, Words(text)
        started = time.process_time()
        stream = guard.stream(source, patience=patience)
        seen = [source.taken for _ in stream]
        stream_s += time.process_time() - started
        first_after += [_count(tokenizer, text[:taken]) for taken in seen[:1]]
        assert stream.end is not None  # noqa: S101
        calls += Counted.calls - before
        tokens += _count(tokenizer, text[: stream.end.received])
        complete += stream.end.is_complete
        early += stream.end.received < len(text.rstrip())
        started = time.process_time()
        allowed += guard.check_output(text=text).action <= Action.EDIT
        once_s += time.process_time() - started
    return {
        "what": what,
        "texts": len(texts),
        "tokens a text": f"{tokens / len(texts):.0f}",
        "calls in 16 tokens": f"{16 * calls / tokens:.2f}",
        "first text after (tokens, median)": f"{statistics.median(first_after):.0f}",
        "at most": max(first_after),
        "came out whole": complete,
        "allowed at the end": allowed,
        "early": early,
        "CPU of one check at the end": f"{stream_s / once_s:.1f}",
    }


def _tokenizer() -> Tokenizer:
    artifact = find_artifact("text-safety")
    tokenizer = Tokenizer.from_buffer(artifact.read("1/tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


if __name__ == "__main__":
    sys.exit(main())
