"""The decision record: JSON without content, and the forms other APIs use."""

from __future__ import annotations

import json
import pickle

import msgspec
import pytest

from guardkit.decision import Decision
from guardkit.taxonomy import Stage
from guardkit.types import Action, Edit, Fired, Guidance, Scores, Span, Status
from guardkit.vault import Vault

SECRET = "Ada Lovelace"
RUDE = Fired("no-insults", "insult", 0.75, 0.5, Action.EDIT, "cut")
FULL = Decision(
    action=Action.EDIT,
    stage=Stage.PROMPT,
    scores=Scores({"insult": 0.75, "harassment": 0.25, "privacy": 0.5, "threat": None}),
    fired=(RUDE,),
    spans=(Span(4, 9, "insult", 0.75, "text-safety"),),
    reasons=("no-insults: insult scored 0.75",),
    text=SECRET,
    image=SECRET,
    edits=(Edit("cut", 4, 9, SECRET),),
    vault=Vault({"<PERSON_1>": SECRET}),
    status=Status.DEGRADED,
    guidance=Guidance({"insult": 0.75}, revised_prompt=SECRET),
    timings_ms={"total": 1.5},
    policy_id="mine/1#abc",
    models=("text-safety@1.0",),
)


def decided(category: str) -> Decision:
    fired = Fired("rule", category, 0.75, 0.5, Action.BLOCK)
    scores = Scores({category: 0.75})
    return Decision(action=Action.BLOCK, stage=Stage.PROMPT, scores=scores, fired=(fired,))


def test_the_record_is_json() -> None:
    assert json.loads(json.dumps(FULL.to_dict())) == FULL.to_dict()


def test_the_record_holds_what_was_decided_and_why() -> None:
    record = FULL.to_dict()
    assert record["action"] == "edit"
    assert record["stage"] == "prompt"
    assert record["status"] == "degraded"
    assert record["flagged"] is True
    assert record["scores"] == {"insult": 0.75, "harassment": 0.25, "privacy": 0.5, "threat": None}
    assert record["fired"] == [
        {
            "rule": "no-insults",
            "category": "insult",
            "score": 0.75,
            "threshold": 0.5,
            "action": "edit",
            "using": "cut",
        }
    ]


def test_the_record_leaks_no_content() -> None:
    assert SECRET not in json.dumps(FULL.to_dict())


def test_the_record_holds_the_text_when_asked_but_never_the_vault() -> None:
    record = FULL.to_dict(include_text=True)
    assert record["text"] == SECRET
    assert record["edits"][0]["replacement"] == SECRET
    assert "vault" not in record
    json.dumps(record)


def test_a_repr_leaks_no_content() -> None:
    assert SECRET not in repr(FULL)


def test_a_decision_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match=r"compare decision\.action"):
        bool(FULL)


@pytest.mark.parametrize(
    ("category", "flagged"),
    [
        # product.md section 2: flagged when a rule on a harm category fired.
        pytest.param("insult", True, id="harm"),
        pytest.param("privacy", False, id="personal-data-is-no-harm"),
        pytest.param("public-figure", False, id="public-figure-is-no-harm"),
        pytest.param("election", True, id="topic-of-a-policy"),
    ],
)
def test_a_decision_is_flagged_when_a_harm_fired(category: str, flagged: bool) -> None:
    assert decided(category).flagged is flagged


def test_the_openai_form_has_the_fields_of_their_moderation_object() -> None:
    # Field names: platform.openai.com/docs/api-reference/moderations/object
    answer = FULL.to_openai()
    assert set(answer) == {"id", "model", "results"}
    (result,) = answer["results"]
    assert set(result) == {
        "flagged",
        "categories",
        "category_scores",
        "category_applied_input_types",
    }
    assert result["flagged"] is True
    json.dumps(answer)


def test_the_openai_form_maps_our_categories_to_theirs() -> None:
    # By the taxonomy table: insult and harassment -> harassment (the higher counts),
    # threat -> harassment/threatening, privacy has no counterpart.
    (result,) = FULL.to_openai()["results"]
    assert result["category_scores"] == {"harassment": 0.75, "harassment/threatening": None}
    assert result["categories"] == {"harassment": True, "harassment/threatening": False}
    assert result["category_applied_input_types"]["harassment"] == ["text"]


def test_the_openai_form_of_an_image_says_image() -> None:
    decision = msgspec.structs.replace(decided("violence"), stage=Stage.OUTPUT_IMAGE)
    (result,) = decision.to_openai()["results"]
    assert result["category_applied_input_types"] == {"violence": ["image"]}


def test_the_perspective_form_has_summary_and_span_scores() -> None:
    # Field names: developers.perspectiveapi.com, AnalyzeComment response.
    attributes = FULL.to_perspective()["attributeScores"]
    assert set(attributes) == {"INSULT", "THREAT"}
    assert attributes["INSULT"] == {
        "spanScores": [{"begin": 4, "end": 9, "score": {"value": 0.75, "type": "PROBABILITY"}}],
        "summaryScore": {"value": 0.75, "type": "PROBABILITY"},
    }
    assert attributes["THREAT"]["summaryScore"]["value"] is None


def test_a_decision_without_a_vault_travels_between_processes() -> None:
    decision = msgspec.structs.replace(FULL, vault=None)
    assert pickle.loads(pickle.dumps(decision)) == decision  # noqa: S301  our own bytes
