"""Languages: told apart with caution, and never scored by a model that does not know them."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardkit.errors import MissingExtraError, PolicyError
from guardkit.guard import Guard
from guardkit.policy.load import policy_from_dict
from guardkit.policy.rules import Languages, Policy, Rule, StagePolicy, When
from guardkit.text.language import UNNAMED, Namer, identify
from guardkit.types import Action, Context, Status
from tests.tiny import TinyText, build_tiny_artifact, change_manifest

_ENGLISH = frozenset(
    ["what", "a", "lovely", "day", "to", "walk", "along", "the", "river", "with", "you"]
)
_NO_TIERS = Languages()
_STRANGE = "quersum fladi wortem glanzig hultrich bemmel"


def _says(code: str, probability: float) -> Namer:
    return lambda _: (code, probability)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("what a lovely day", "en", id="english"),
        pytest.param("", "en", id="empty"),
        pytest.param("123 !!", "en", id="no-letters"),
        pytest.param("wunderbar", "en", id="too-short-to-tell"),
        pytest.param("コーヒーを飲みたいです", "ja", id="japanese"),
        pytest.param("今天天气很好", "zh", id="chinese"),
        pytest.param("오늘 날씨가 좋네요", "ko", id="korean"),
        pytest.param("יום יפה היום", "he", id="hebrew"),
        pytest.param("ዛሬ ጥሩ ቀን ነው", "am", id="amharic"),
        pytest.param("วันนี้อากาศดี", "th", id="thai"),
        pytest.param("what a lovely day 今天", "en", id="mostly-english"),
        pytest.param("aaj mausam bahut accha hai yaar", "hi-Latn", id="romanised-hindi"),
        pytest.param("сегодня хорошая погода", UNNAMED, id="a-script-that-many-share"),
        pytest.param(_STRANGE, UNNAMED, id="strange-words"),
    ],
)
def test_scripts_and_words_tell_a_language_without_a_library(text: str, expected: str) -> None:
    assert identify(text, _ENGLISH) == expected


def test_the_library_names_what_neither_script_nor_words_tell() -> None:
    german = _says("de", 0.99)
    assert identify(_STRANGE, _ENGLISH, namer=lambda: german) == "de"
    assert identify("сегодня хорошая погода", _ENGLISH, namer=lambda: _says("ru", 0.4)) == "ru"


def test_an_unsure_library_leaves_a_latin_text_english() -> None:
    assert identify(_STRANGE, _ENGLISH, namer=lambda: _says("de", 0.5)) == "en"


def test_the_library_is_not_asked_about_english() -> None:
    def refuse() -> Namer:
        raise AssertionError("asked")

    assert identify("what a lovely day", _ENGLISH, namer=refuse) == "en"


# --- in a guard -----------------------------------------------------------------------------------


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An English model and one that knows Japanese and Korean, with the same words."""
    words = {"idiot": {"insult": 4.0}, "今天": {"insult": 0.0}}
    for name, languages in (("text-safety", ["en"]), ("text-safety-multi", ["en", "ja", "ko"])):
        folder = build_tiny_artifact(tmp_path / name, TinyText(name, words=words))
        change_manifest(folder, {"languages": languages})
    monkeypatch.setenv("GUARDKIT_MODELS", str(tmp_path))
    return tmp_path


def _policy(
    *scorers: str, languages: Languages = _NO_TIERS, rules: tuple[Rule, ...] = ()
) -> Policy:
    rules = rules or (Rule("insults", When("insult", 0.5), Action.BLOCK),)
    return Policy("demo", prompt=StagePolicy(scorers=scorers, rules=rules), languages=languages)


def test_text_in_a_language_no_model_knows_is_not_measured(models: Path) -> None:
    guard = Guard(_policy("text-safety"))
    decision = guard.check_prompt("コーヒーを飲みたいです")
    assert dict(decision.scores) == {"insult": None, "threat": None}
    assert (decision.action, decision.status, decision.language) == (
        Action.BLOCK,
        Status.ERROR,
        "ja",
    )
    assert "no scorer knows the language" in decision.reasons[0]
    assert guard.score_prompts(["コーヒーを飲みたいです"])[0]["insult"] is None


def test_the_policy_says_what_low_evidence_means(models: Path) -> None:
    guard = Guard(_policy("text-safety", languages=Languages(low_evidence="allow")))
    decision = guard.check_prompt("コーヒーを飲みたいです")
    assert (decision.action, decision.status) == (Action.ALLOW, Status.ERROR)
    assert guard.check_prompt("you idiot").action is Action.BLOCK


def test_a_model_that_knows_the_language_answers_for_one_that_does_not(models: Path) -> None:
    decision = Guard(_policy("text-safety", "text-safety-multi")).check_prompt("コーヒー 今天")
    assert (decision.status, decision.language) == (Status.OK, "ja")
    assert decision.scores["threat"] == pytest.approx(0.018, abs=1e-3)


def test_a_translation_is_scored_where_no_model_knows_the_language(models: Path) -> None:
    asked: list[tuple[str, str]] = []

    def translate(text: str, language: str) -> str:
        asked.append((text, language))
        return "you idiot"

    guard = Guard(_policy("text-safety"), translate=translate)
    decision = guard.check_prompt("コーヒーを飲みたいです")
    assert asked == [("コーヒーを飲みたいです", "ja")]
    assert (decision.action, decision.status, decision.spans) == (Action.BLOCK, Status.OK, ())
    assert "translate" in decision.timings_ms
    assert guard.check_prompt("hello").action is Action.ALLOW
    assert len(asked) == 1  # English is not translated


@pytest.mark.parametrize("answer", [None, 7])
def test_a_translation_that_fails_is_no_permission(models: Path, answer: object) -> None:
    def translate(text: str, language: str) -> str:
        if answer is None:
            raise OSError(text)
        return answer  # type: ignore[return-value]

    decision = Guard(_policy("text-safety"), translate=translate).check_prompt("コーヒー 飲みたい")
    assert (decision.action, decision.status) == (Action.BLOCK, Status.ERROR)
    assert decision.scores["insult"] is None


def test_a_model_can_be_asked_for_some_of_its_languages(models: Path) -> None:
    asked = {"text-safety-multi": {"languages": ["ko"]}}
    policy = policy_from_dict(
        {
            "policy": "demo",
            "prompt": {
                "scorers": ["text-safety-multi"],
                "rules": [
                    {
                        "name": "n",
                        "when": {"category": "insult", "at_least": 0.5},
                        "action": "block",
                    }
                ],
            },
            "models": asked,
        }
    )
    assert Guard(policy).check_prompt("コーヒーを飲みたいです").status is Status.ERROR
    assert Guard(policy).check_prompt("hello", Context(language="ko")).status is Status.OK


def test_what_the_caller_says_of_the_language_counts(models: Path) -> None:
    guard = Guard(_policy("text-safety"))
    assert guard.check_prompt("hello", Context(language="tr")).status is Status.ERROR
    assert guard.check_prompt("コーヒー", Context(language="en")).status is Status.OK


def test_a_rule_can_ask_for_a_language_or_its_tier(models: Path) -> None:
    rules = (
        Rule("strict", When("insult", 0.01, language_tier="low"), Action.BLOCK),
        Rule("japanese", When("insult", 0.01, language="ja"), Action.REGENERATE),
        Rule("insults", When("insult", 0.5), Action.BLOCK),
    )
    tiers = Languages(tiers={"low": ("ja", "de")})
    guard = Guard(_policy("text-safety-multi", languages=tiers, rules=rules))
    fired = [one.rule for one in guard.check_prompt("コーヒー").fired]
    assert fired == ["strict", "japanese"]
    assert guard.check_prompt("hello").fired == ()


def test_languages_that_scripts_do_not_tell_need_the_library(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_manifest(models / "text-safety-multi", {"languages": ["en", "de"]})
    monkeypatch.setattr("guardkit.text.measure.load_namer", lambda: None)
    with pytest.raises(MissingExtraError, match=r"guardkit\[languages\]"):
        Guard(_policy("text-safety", "text-safety-multi"))


def test_a_model_that_says_nothing_of_languages_takes_any(tmp_path: Path, guard: Guard) -> None:
    decision = guard.check_prompt("コーヒーを飲みたいです")
    assert (decision.status, decision.language) == (Status.OK, None)


def test_faults_in_tiers_are_named() -> None:
    policy = {
        "policy": "demo",
        "languages": {"tiers": {"high": ["en", "de"], "low": ["de"]}},
        "prompt": {
            "rules": [
                {
                    "name": "n",
                    "when": {"category": "insult", "at_least": 0.5, "language_tier": "lo"},
                    "action": "block",
                }
            ]
        },
    }
    with pytest.raises(PolicyError) as caught:
        policy_from_dict(policy)
    text = str(caught.value)
    assert "'de' is in tier 'high' too" in text
    assert "unknown tier 'lo'" in text
    assert "'low'" in text
