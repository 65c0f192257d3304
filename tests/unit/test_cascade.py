"""The fast tier clears what is plainly harmless, and nothing else changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from guardkit import Action, Context, Guard, Policy
from guardkit.artifacts import RunnerOptions, load_artifact
from guardkit.cli.main import main
from guardkit.errors import ManifestError, RunError
from guardkit.policy.rules import EditorEntry, Languages, Rule, StagePolicy, When
from guardkit.runtime.base import Arrays, open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.text.cascade import Cascade
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer
from guardkit.types import Status, Tier
from tests.tiny import CALM, build_tiny_fast, change_manifest

CLEAR = "a portrait of the sea"
FULL_CALM = 1 / (1 + math.exp(-CALM))
FAST_CALM = 1 / (1 + math.exp(1 - CALM))
FAST_ID, FULL_ID = "text-safety-fast@0.0.1", "text-safety@0.0.1"


@pytest.fixture
def models(own_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny `text-safety` and its fast tier, where guardkit finds them."""
    build_tiny_fast(own_artifact)
    monkeypatch.setenv("GUARDKIT_MODELS", str(own_artifact.parent))
    return own_artifact.parent


def policy(
    at_least: float = 0.5, *, stage: StagePolicy | None = None, **settings: object
) -> Policy:
    """Insults are cut and threats blocked, from a threshold on."""
    rules = (
        Rule("insults", When("insult", at_least), Action.EDIT, "cut"),
        Rule("threats", When("threat", at_least), Action.BLOCK),
    )
    prompt = stage or StagePolicy(scorers=("text-safety",), editors=("cut",), rules=rules)
    return Policy("tiny", prompt=prompt, **settings)  # type: ignore[arg-type]


def test_a_harmless_text_is_cleared_and_carries_the_fast_scores(models: Path) -> None:
    decision = Guard(policy()).check_prompt(CLEAR)
    assert decision.tier is Tier.FAST
    assert decision.action is Action.ALLOW
    assert decision.scores["insult"] == pytest.approx(FAST_CALM)
    assert decision.models == (FAST_ID,)
    assert decision.to_dict()["tier"] == "fast"


def test_a_text_at_or_above_a_bound_goes_to_the_full_model(models: Path) -> None:
    decision = Guard(policy()).check_prompt("you are a fool")  # fast 0.27, bound 0.1, full 0.5
    assert decision.tier is Tier.FULL
    assert decision.models == (FULL_ID,)
    assert [fired.score for fired in decision.fired] == [0.5]


def test_the_bound_itself_is_not_below_the_bound(models: Path) -> None:
    calm = 1 / (1 + math.exp(-(CALM - 1.0)))
    change_manifest(models / "text-safety-fast", {"clears": {"insult": calm, "threat": 0.1}})
    assert Guard(policy()).check_prompt(CLEAR).tier is Tier.FULL


def test_decisions_are_those_of_the_full_model_on_flagged_texts(models: Path) -> None:
    texts = ["you idiot", "i will kill you", "you are a fool", ""]
    off = Guard(policy(models={"text-safety": RunnerOptions(cascade=False)}))
    on = Guard(policy())
    assert [on.check_prompt(text).action for text in texts] == [
        off.check_prompt(text).action for text in texts
    ]


def test_a_policy_with_a_lower_threshold_has_no_cascade(models: Path) -> None:
    assert Guard(policy(0.5)).check_prompt(CLEAR).tier is Tier.FAST
    assert Guard(policy(0.49)).check_prompt(CLEAR).tier is Tier.FULL


@pytest.mark.parametrize(
    "strict",
    [
        When("insult", 0.05, language="ja"),
        When("insult", 0.05, language_tier="low"),
    ],
)
def test_a_stricter_rule_for_languages_that_the_model_leaves_to_others_changes_nothing(
    models: Path, strict: When
) -> None:
    rules = (Rule("insults", When("insult", 0.5), Action.BLOCK), Rule("x", strict, Action.BLOCK))
    stage = StagePolicy(scorers=("text-safety",), rules=rules)
    tiers = Languages(tiers={"low": ("ja", "tt")})
    known = policy(stage=stage, languages=tiers)
    assert Guard(known).check_prompt(CLEAR).tier is Tier.FULL  # a model that takes any language
    change_manifest(models / "text-safety", {"languages": ["en"]})
    assert Guard(known).check_prompt(CLEAR).tier is Tier.FAST
    english = policy(stage=stage, languages=Languages(tiers={"low": ("ja", "en")}))
    assert Guard(english).check_prompt(CLEAR).tier is (
        Tier.FULL if strict.language_tier else Tier.FAST
    )


def test_a_rule_on_a_category_without_a_fitted_threshold_switches_it_off(models: Path) -> None:
    folder = models / "text-safety-fast"
    fitted = {
        "model": FULL_ID,
        "scores_digest": load_artifact(models / "text-safety").manifest.scores_digest,
        "thresholds": {"insult": 0.5},
    }
    change_manifest(folder, {"clears": {"insult": 0.1}, "fitted": fitted})
    assert Guard(policy()).check_prompt(CLEAR).tier is Tier.FULL


def test_the_policy_can_switch_it_off(models: Path) -> None:
    guard = Guard(policy(models={"text-safety": RunnerOptions(cascade=False)}))
    decision = guard.check_prompt(CLEAR)
    assert decision.tier is Tier.FULL
    assert decision.scores["insult"] == pytest.approx(FULL_CALM)
    assert [info.name for info in guard.info()] == ["text-safety"]


def test_info_lists_both_models(models: Path) -> None:
    assert [info.name for info in Guard(policy()).info()] == ["text-safety", "text-safety-fast"]


def test_scores_are_always_those_of_the_full_model(models: Path) -> None:
    (scores,) = Guard(policy()).score_prompts([CLEAR])
    assert scores["insult"] == pytest.approx(FULL_CALM)


@pytest.mark.parametrize(
    "context",
    [Context(situation="a chess club"), Context(language="de"), Context(audience="children")],
    ids=["situation", "language", "audience"],
)
def test_a_context_needs_the_full_model(models: Path, context: Context) -> None:
    guard = Guard(policy())
    assert guard.check_prompt(CLEAR, context).tier is Tier.FULL
    assert guard.check_prompt(CLEAR, Context()).tier is Tier.FAST


def test_an_editor_that_always_runs_needs_the_full_models_spans(models: Path) -> None:
    stage = StagePolicy(scorers=("text-safety",), editors=(EditorEntry("cut", "always"),))
    assert Guard(policy(stage=stage)).check_prompt(CLEAR).tier is Tier.FULL


def test_an_edited_text_is_checked_by_the_full_model(models: Path) -> None:
    decision = Guard(policy()).check_prompt("a portrait of my idiot neighbour")
    assert (decision.action, decision.tier) == (Action.EDIT, Tier.FULL)


def test_a_tier_fitted_for_another_model_is_not_used(models: Path) -> None:
    other = {name: {"scale": 2.0, "shift": 0.0} for name in ("insult", "threat")}
    change_manifest(models / "text-safety", {"calibration": other})
    assert Guard(policy()).check_prompt(CLEAR).tier is Tier.FULL


def test_a_damaged_tier_is_not_used(models: Path) -> None:
    (models / "text-safety-fast" / "1" / "model.onnx").write_bytes(b"no graph")
    decision = Guard(policy()).check_prompt(CLEAR)
    assert (decision.tier, decision.status) == (Tier.FULL, Status.OK)


def _raises(_: Arrays) -> Arrays:
    raise RunError("out of memory")


def _breaks(_: Arrays) -> Arrays:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "function",
    [
        _raises,
        _breaks,
        lambda _: {},
        lambda inputs: {"logits": np.full((len(inputs["input_ids"]), 2), np.nan, np.float32)},
    ],
    ids=["run-error", "bug", "no-output", "nan"],
)
def test_a_failing_tier_falls_through(models: Path, function: Callable[[Arrays], Arrays]) -> None:
    artifact = load_artifact(models / "text-safety")
    full = TextScorer(artifact, open_runner(artifact, RunnerOptions()))
    manifest = load_artifact(models / "text-safety-fast").manifest
    cascade = Cascade(full, manifest, FakeRunner(function), bars=manifest.clears)
    (scored,) = cascade.score([normalize(CLEAR)])
    assert scored == full.score([normalize(CLEAR)])[0]


def test_a_harmful_window_of_a_long_text_is_not_cleared(models: Path) -> None:
    guard = Guard(policy())
    assert guard.check_prompt("the sea and the sky. " * 6).tier is Tier.FAST
    assert guard.check_prompt("the sea and the sky. " * 6 + "i will kill you").tier is Tier.FULL


def test_bounds_without_what_they_were_fitted_for_are_refused(models: Path) -> None:
    folder = change_manifest(models / "text-safety-fast", {"fitted": None})
    with pytest.raises(ManifestError, match="fitted for"):
        load_artifact(folder)


def test_models_verify_checks_the_files_of_a_fast_tier(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "verify", str(models / "text-safety-fast")]) == 0
    assert "the graph as described" in capsys.readouterr().out
