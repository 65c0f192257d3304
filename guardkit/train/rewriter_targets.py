"""Choose what rude sentences are to become: the best of what people wrote and of what `prompt-rewriter` writes, measured.

    guardkit train rewriter-targets --data FOLDER --language-model FOLDER --work FOLDER     # half an hour of two cores; resumes
    guardkit train prompt-rewriter ... --targets FOLDER

What people wrote varies: some of it is broken, some hardly milder. So a model that learns all of it alike learns that too. Candidates of
each source: its references, the rewriter's own greedy rewriting, and samples of it. Each is worth what the measure of the task says
("best of n", as in Gao et al., arXiv 2210.10760; trained on its own best as in Dong et al., RAFT, arXiv 2304.06767):

    value(c) = (1 - harm(c)) max(0, cos(c, source)) min(1, exp(mean log p(c) - mean over references of mean log p))

harm: the largest score of `text-safety`; cos: of the rewriter's own sentence embeddings; p: a causal language model. No judge of
`bench.rewriting` takes part; its measure of fluency, smollm2-135m, is the language model here, as the issue's teacher.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from guardkit.artifacts import Artifact, RunnerOptions, find_artifact
from guardkit.errors import InputError
from guardkit.runtime.base import Arrays, Runner, open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.steps import REWRITER, REWRITER_DECODER
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize
from guardkit.text.opening import scorer_of
from guardkit.text.rewrite import ModelRewriter, past_of
from guardkit.text.spelling import tidied
from guardkit.train.repairs import LONGEST, Pair, paradetox
from guardkit.types import Span

_log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
_SCORER = "text-safety"
_BLAMED = 0.5  # score from which a category's spans are blamed
_CHUNK = 64  # sources that are kept at a time
_BATCH = 32  # texts of a run of the language model
_WORTH_READING = 0.75
"""Of the best harmlessness x similarity of a source; the language model reads no others."""
_LEAST_VALUE = 0.4
"""Below, none of the candidates is worth learning: harmful still, or about something else."""


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """How candidates are made."""

    samples: int = 3
    """Of each source, beside the greedy rewriting."""
    temperature: float = 0.8
    seed: int = 20261127
    part: int = 0
    """Which of `parts` shares of the sources this process does."""
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """What a source is to become, and what that is worth, in [0, 1]."""

    source: str
    target: str
    value: float
    is_own: bool
    """Nobody wrote it; the rewriter did."""


def choose_targets(data: Path, language_model: Path, work: Path, settings: TargetSettings) -> Path:
    """Choose the targets of ParaDetox's training sentences; returns the file of those of this part.

    A source that is in the file already is not done again.

    Args:
        data: The shared data: `rewrite/paradetox`.
        language_model: Folder of a causal language model.
        work: The folder of the parts' files.
        settings: How candidates are made.

    Raises:
        InputError: There is no such part.
    """
    if not 0 <= settings.part < settings.parts:
        raise InputError(f"part: found {settings.part + 1} of {settings.parts}. Expected 1 to {settings.parts}.")  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"targets-{settings.part + 1}-of-{settings.parts}.jsonl"
    path.touch()
    done = {one.source for one in _read(path)}
    sources = _references(data)
    own = [text for at, text in enumerate(sources) if at % settings.parts == settings.part]
    left = [text for text in own if text not in done]
    chooser = Chooser(Likelihood(language_model), settings)
    with path.open("a", encoding="utf-8") as lines:
        for at in range(0, len(left), _CHUNK):
            some = left[at : at + _CHUNK]
            for one in chooser.best(some, [sources[text] for text in some]):
                lines.write(json.dumps([one.source, one.target, one.value, one.is_own]) + "\n")
            lines.flush()
            _log.info("%d of %d sources", len(done) + at + len(some), len(own))
    return path


def chosen_pairs(work: Path) -> list[Pair]:
    """What is worth learning of the targets in a folder, of all parts.

    Raises:
        InputError: There is none.
    """
    targets = [one for path in sorted(work.glob("targets-*.jsonl")) for one in _read(path)]
    pairs = [Pair(one.source, one.target) for one in targets if one.value >= _LEAST_VALUE]
    if not pairs:
        raise InputError(f"{work}: no targets worth learning. Expected what guardkit train rewriter-targets writes.")  # fmt: skip
    return pairs


def _read(path: Path) -> list[Target]:
    return [Target(*json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def _references(data: Path) -> dict[str, list[str]]:
    """Each source's references, in the order of the file."""
    found = dict[str, list[str]]()
    for pair in paradetox(data, "train"):
        if max(len(pair.source), len(pair.target)) <= LONGEST:
            found.setdefault(pair.source, []).append(pair.target)
    return found


class Chooser:
    """The models that write and value candidates."""

    def __init__(
        self, likelihood: Callable[[Sequence[str]], Floats], settings: TargetSettings
    ) -> None:
        """Open `text-safety` and `prompt-rewriter`.

        Args:
            likelihood: Texts to the mean log-likelihood of a token, f64 [texts].
            settings: How candidates are made.
        """
        options = RunnerOptions(threads=1)
        safety = find_artifact(_SCORER)
        self._scorer = scorer_of(safety, open_runner(safety, options), options)
        reader, writer = find_artifact(REWRITER), find_artifact(REWRITER_DECODER)
        self._reader, self._words = open_runner(reader, options), Encoder.of(reader)
        rng = np.random.default_rng([settings.seed, settings.part])
        sampler = sampling_decoder(writer, settings.temperature, rng)
        self._greedy, self._sampled = (
            ModelRewriter(reader, self._reader, decoder, past=past_of(writer))
            for decoder in (open_runner(writer, options), sampler)
        )
        self._samples = settings.samples
        self._likelihood = likelihood

    def best(self, sources: Sequence[str], references: Sequence[list[str]]) -> list[Target]:
        """The best candidate of each source."""
        given = [[tidied(text) for text in some] for some in references]
        _, blamed = self._harm(sources)
        own = [self._written(text, spans) for text, spans in zip(sources, blamed, strict=True)]
        candidates = [list(dict.fromkeys([*a, *b])) for a, b in zip(given, own, strict=True)]
        worth = self._worth(sources, candidates)
        promising = [
            text
            for some, values in zip(candidates, worth, strict=True)
            for text, value in zip(some, values, strict=True)
            if value >= _WORTH_READING * values.max()
        ]
        texts = list(dict.fromkeys([*chain(*given), *promising]))
        log_p = dict(zip(texts, self._likelihood(texts).tolist(), strict=True))
        parts = zip(sources, candidates, given, worth, strict=True)
        return [_best_of(*part, log_p) for part in parts]

    def _worth(self, sources: Sequence[str], candidates: Sequence[list[str]]) -> list[Floats]:
        """Harmlessness times nearness to the source, an array a source."""
        harm, _ = self._harm(list(chain(*candidates)))
        ends = np.cumsum([len(some) for some in candidates])[:-1]
        parts = zip(sources, candidates, np.split(1 - harm, ends), strict=True)
        return [harmless * self._nearness(source, some) for source, some, harmless in parts]

    def _written(self, text: str, blamed: Sequence[Span]) -> list[str]:
        tried = [self._greedy, *[self._sampled] * self._samples]
        found = [rewriter.rewrite(text, blamed) for rewriter in tried]
        return [one for one in found if one is not None and one.strip()]

    def _harm(self, texts: Sequence[str]) -> tuple[Floats, list[list[Span]]]:
        """(largest score f64 [texts], what is blamed in each)."""
        words = self._scorer.words()
        scored = self._scorer.score([normalize(text, words=words) for text in texts])
        scores = [{name: value or 0.0 for name, value in one.scores.items()} for one in scored]
        worst = np.array([max(some.values()) for some in scores], np.float64)
        blamed = [
            [span for span in one.spans if some[span.category] >= _BLAMED]
            for one, some in zip(scored, scores, strict=True)
        ]
        return worst, blamed

    def _nearness(self, source: str, texts: Sequence[str]) -> Floats:
        """Cosines to the source, below 0 as 0: f64 [texts]."""
        first, *rest = (self._embedded(text) for text in (source, *texts))
        return np.array([max(0.0, float(first @ one)) for one in rest], np.float64)

    def _embedded(self, text: str) -> NDArray[np.float32]:
        prompt = normalize(text, words=self._words.words())
        outputs = self._reader.run(self._words.encode([prompt.text]).inputs)
        return np.asarray(outputs["embedding"][0], np.float32)


def _best_of(
    source: str,
    candidates: Sequence[str],
    given: Sequence[str],
    worth: Floats,
    log_p: Mapping[str, float],
) -> Target:
    """The candidate of the largest value; what the language model did not read is worth nothing."""
    usual = float(np.mean([log_p[text] for text in given]))
    fluency = [min(1.0, math.exp(log_p.get(text, -math.inf) - usual)) for text in candidates]
    values = worth * np.array(fluency)
    at = int(values.argmax())
    return Target(source, candidates[at], round(float(values[at]), 4), candidates[at] not in given)


def sampling_decoder(artifact: Artifact, temperature: float, rng: np.random.Generator) -> Runner:
    """`prompt-rewriter-decoder`, drawing each next piece instead of taking the best one.

    A guess that is drawn is taken, as one that is best is; what is behind the first other one is thrown away. So the
    outcome is that of drawing piece by piece.

    Args:
        artifact: The decoder.
        temperature: Its scores are divided by this before they are drawn from; above 0.
        rng: What draws.
    """
    graph = onnx.load_from_string(artifact.read(artifact.manifest.model))
    best = next(node for node in graph.graph.node if node.op_type == "ArgMax")
    graph.graph.output.append(onnx.ValueInfoProto(name=best.input[0]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)

    def run(inputs: Arrays) -> Arrays:
        scores, kept = session.run([best.input[0], "kept"], inputs)
        # The largest sum of a score and Gumbel noise is a draw of the scores' softmax.
        noise = rng.gumbel(size=scores.shape)
        return {"best": (scores / temperature + noise).argmax(axis=-1), "kept": kept}

    return FakeRunner(run, name=artifact.manifest.name)


class Likelihood:
    """How likely a causal language model finds texts."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        # bfloat16: twice as fast, .04 nats from fp32, which no choice between two candidates hangs on.
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Mean log-likelihood a token, the text begun afresh: f64 [texts]."""
        found = np.zeros(len(texts))
        order = np.argsort([len(text) for text in texts])
        for at in range(0, len(order), _BATCH):
            rows = order[at : at + _BATCH]
            found[rows] = self._of([texts[row] for row in rows])
        return found

    def _of(self, texts: Sequence[str]) -> list[float]:
        begin = self._tokenizer.bos_token_id
        ids = [[begin, *self._tokenizer(text.strip() or ".").input_ids] for text in texts]
        width = max(map(len, ids))
        tokens = torch.tensor([one + [0] * (width - len(one)) for one in ids])
        mask = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ids])
        is_next = mask[:, 1:].bool()
        with torch.inference_mode():
            states = self._model.model(input_ids=tokens, attention_mask=mask)[0]
            logits = self._model.lm_head(states[:, :-1][is_next]).float()
        losses = cross_entropy(logits, tokens[:, 1:][is_next], reduction="none")
        return [-float(some.mean()) for some in losses.split([len(one) - 1 for one in ids])]
