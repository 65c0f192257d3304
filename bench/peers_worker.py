"""One library in one process, for `bench/peers.py`. Imports nothing that the library itself might.

    python -P peers_worker.py NAME POLICY

First line out: {"import_cpu_s", "first_decision_cpu_s"}. Then, for every line in (a JSON list of texts), a line
out: a JSON list of [wall_ns, cpu_ns, flagged]. At the end of input: {"peak_memory_mb"}.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Check = Callable[[str], bool]


def load_guardkit(policy: str) -> Callable[[], Check]:
    from guardkit import Action, Guard

    def construct() -> Check:
        is_file = policy.endswith(".yaml")
        guard = Guard.from_file(policy) if is_file else Guard.from_preset(policy)
        return lambda text: guard.check_prompt(text).action is not Action.ALLOW

    return construct


def load_alt_profanity_check(_: str) -> Callable[[], Check]:
    from profanity_check import predict

    return lambda: lambda text: bool(predict([text])[0])


def load_better_profanity(_: str) -> Callable[[], Check]:
    from better_profanity import profanity

    def construct() -> Check:
        profanity.load_censor_words()
        return lambda text: bool(profanity.contains_profanity(text))

    return construct


def load_presidio_analyzer(_: str) -> Callable[[], Check]:
    """Its patterns with an empty spaCy pipeline: a trained one cannot be installed from a package index."""
    import tempfile

    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    def construct() -> Check:
        with tempfile.TemporaryDirectory() as folder:
            spacy.blank("en").to_disk(folder)
            models = [{"lang_code": "en", "model_name": folder}]
            engine = NlpEngineProvider(
                nlp_configuration={"nlp_engine_name": "spacy", "models": models}
            ).create_engine()
            analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
            analyzer.analyze(text="warm up", language="en")
        return lambda text: bool(analyzer.analyze(text=text, language="en"))

    return construct


LOADERS = {
    "guardkit": load_guardkit,
    "alt-profanity-check": load_alt_profanity_check,
    "better-profanity": load_better_profanity,
    "presidio-analyzer": load_presidio_analyzer,
}


def main(name: str, policy: str) -> None:
    started = time.process_time()
    construct = LOADERS[name](policy)
    imported = time.process_time()
    check = construct()
    check("a watercolour of a lighthouse")
    decided = time.process_time()

    import json

    print(json.dumps({"import_cpu_s": imported - started, "first_decision_cpu_s": decided - started}), flush=True)  # fmt: skip
    for line in sys.stdin:
        print(json.dumps([timed(check, text) for text in json.loads(line)]), flush=True)
    print(json.dumps({"peak_memory_mb": peak_memory_mb()}), flush=True)


def timed(check: Check, text: str) -> tuple[int, int, bool]:
    wall = time.perf_counter_ns()
    cpu = time.process_time_ns()
    flagged = check(text)
    cpu_ns = time.process_time_ns() - cpu
    return time.perf_counter_ns() - wall, cpu_ns, flagged


def peak_memory_mb() -> float:
    import runpy  # importing guardkit here would count as the peer's memory
    from pathlib import Path

    probe = Path(__file__).parent.parent / "guardkit" / "bench" / "probe.py"
    peak_bytes: int = runpy.run_path(str(probe))["peak_memory_bytes"]()
    return peak_bytes / 1e6


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
