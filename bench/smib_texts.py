"""Stage 1 of the SmolLM2 study: continuations of prompts, a line each in `RUN/<name>.jsonl`, kept as they are made."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.smib_prompts import Prompt
from bench.smib_sampling import Sampling, sample

_log = logging.getLogger(__name__)


def read_texts(path: Path) -> dict[int, list[str]]:
    """Prompt number -> its continuations, of what a file holds so far."""
    if not path.is_file():
        return {}
    whole = path.read_text("utf-8")
    lines = whole[: whole.rfind("\n") + 1].splitlines()
    return {row["prompt"]: row["texts"] for row in map(json.loads, lines)}


def write_texts(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], how: Sampling, path: Path
) -> dict[int, list[str]]:
    """Continue the prompts that the file does not hold yet; returns all of them."""
    done = read_texts(path)
    todo = [(one.number, one.text) for one in prompts if one.number not in done]
    with path.open("a", encoding="utf-8") as file:
        for at, (number, texts) in enumerate(sample(model, tokenizer, todo, how)):
            file.write(json.dumps({"prompt": number, "texts": texts}) + "\n")
            if at % how.prompts == 0:
                file.flush()
                _log.info("%s: %d of %d prompts", path.stem, len(done) + at, len(prompts))
    return read_texts(path)
