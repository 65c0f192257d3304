"""Policies, scores and manifests for hypothesis to draw."""

from __future__ import annotations

from hypothesis import strategies as st

from guardkit.policy.rules import FailureAction, Limits, Policy, Rule, StagePolicy, When, WordList
from guardkit.types import Action, Scores

CATEGORIES = ("insult", "threat")
"""Those of the tiny artifact, so that the policies can be loaded from a file as well."""

names = st.lists(st.text("abnoy019", min_size=1, max_size=4), min_size=1, max_size=3).map("-".join)
# Plain decimals: the YAML reader refuses 1e-05.
probabilities = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
failures: st.SearchStrategy[FailureAction] = st.sampled_from(["block", "regenerate", "allow"])
categories = st.sampled_from(CATEGORIES)
words = st.text("abcdefghijklmnopqrstuvwxyzéß' -", min_size=1, max_size=12).map(lambda w: f"a{w}")
audiences = st.none() | st.sampled_from(["children", "on", "010", "it's: #1"])


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """A rule of any action; edits use `cut`."""
    action = draw(st.sampled_from(Action))
    when = When(draw(categories), draw(probabilities), audience=draw(audiences))
    return Rule(draw(names), when, action, "cut" if action is Action.EDIT else None)


rule_lists = st.lists(rules(), max_size=6, unique_by=lambda rule: rule.name).map(tuple)


@st.composite
def stage_policies(draw: st.DrawFn) -> StagePolicy:
    """A stage that scores with the tiny artifact."""
    return StagePolicy(
        scorers=("text-safety",),
        editors=("cut",),
        rules=draw(rule_lists),
        after_edit=draw(failures),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy that says something of everything a policy can say something of."""
    return Policy(
        draw(names),
        version=draw(st.integers(1, 10**9)),
        description=draw(words),
        prompt=draw(stage_policies()),
        output_text=draw(st.none() | stage_policies()),
        on_failure=draw(failures),
        timeout_ms=draw(st.none() | st.integers(1, 600_000)),
        on_timeout=draw(st.none() | failures),
        limits=Limits(
            draw(st.integers(0, 1)), draw(st.integers(0, 16)), draw(st.integers(1, 10**6))
        ),
        mode=draw(st.sampled_from(["enforce", "shadow"])),
        lists=draw(st.dictionaries(names, word_lists(), max_size=2)),
    )


@st.composite
def word_lists(draw: st.DrawFn) -> WordList:
    """Entries to block and to allow."""
    entries = st.lists(words, max_size=3).map(tuple)
    return WordList(block=draw(entries), allow=draw(entries))


scores = st.dictionaries(categories, st.none() | probabilities).map(Scores)
"""Some measured, some failed, some absent."""
