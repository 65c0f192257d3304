"""What holds for any lists: balance, repetition, nothing else touched; for any sentence: idempotence."""

from __future__ import annotations

import threading
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardkit.policy.rules import Attributes, Ground, Specific
from guardkit.text.ground import Grounder

SINGULAR = ("doctor", "engineer", "person", "woman", "man", "child", "nurse", "brain surgeon", "family", "couple", "police officer", "mother", "thief")  # fmt: skip
PLURAL = ("doctors", "people", "men", "women", "children", "friends", "office workers")
SAID = (
    "young",
    "Black",
    "old",
    "white",
    "happy",
    "elderly",
    "female",
    "lazy",
    "Japanese",
    "tall, smiling",
)
BEHIND = ("", "", "in a white shirt", "in their forties", "with her dog", "washing his hands", "in Tokyo", "having fun", "of different ages", "who is a doctor", "aged 40")  # fmt: skip
BETWEEN = (
    " and ",
    ", ",
    ". ",
    " beside ",
    " talking to ",
    " with ",
    "\n",
    " next to a lake, ",
    " - 8k, ",
    ", 1916, ",
)


@st.composite
def phrases(draw: st.DrawFn) -> str:
    is_plural = draw(st.booleans())
    noun = draw(st.sampled_from(PLURAL if is_plural else SINGULAR))
    said = " ".join([*draw(st.lists(st.sampled_from(SAID), max_size=2, unique=True)), noun])
    article = "an" if said[0] in "aeiou" else "a"
    before = draw(st.sampled_from(["", "the ", "two ", "a group of "] if is_plural else ["", "the ", f"{article} "]))  # fmt: skip
    return f"{before}{said} {draw(st.sampled_from(BEHIND))}".strip()


@st.composite
def prompts(draw: st.DrawFn) -> str:
    first, *rest = draw(st.lists(phrases(), min_size=1, max_size=4))
    return first + "".join(draw(st.sampled_from(BETWEEN)) + one for one in rest)


PROMPTS = prompts()
WORDS = st.lists(st.sampled_from([*SINGULAR, *PLURAL, *SAID, *BEHIND, "a", "an", "no", "his", "chef's", "é", "someone"]), max_size=12)  # fmt: skip
ANYTHING = WORDS.map(" ".join) | st.text(max_size=40) | PROMPTS
LISTS = st.builds(
    Attributes,
    gender=st.sampled_from([{}, {"woman": 1, "man": 1}, {"woman": 2, "man": 2, "non-binary": 1}]),
    ethnicity=st.sampled_from([{}, {"Black": 1, "East Asian": 1}, {"Zorbian": 1, "olive": 2}]),
    age=st.sampled_from([{}, {"elderly": 1, "in their twenties": 1}, {"of a certain age": 1}]),
)
OPTIONS = st.builds(
    Ground,
    seed=st.integers(0, 99),
    attributes=LISTS,
    specific=st.sampled_from([(), (Specific("having fun", ("dancing", "singing")),)]),
)


_BOTH = Ground(attributes=Attributes(gender={}, ethnicity={"Black": 1}, age={"elderly": 1}))


@given(text=PROMPTS, options=OPTIONS)
@example("men and doctors of different ages", _BOTH)
@example("doctors and the doctors of different ages", _BOTH)
@settings(deadline=None)
def test_a_second_run_changes_nothing(text: str, options: Ground) -> None:
    ground = Grounder(options, this_year=2026)
    once, _ = ground(text, ())
    assert ground(once, ()) == (once, ())


@given(text=ANYTHING, options=OPTIONS)
@settings(deadline=None)
def test_text_outside_the_edits_stays_as_it_is(text: str, options: Ground) -> None:
    grounded, edits = Grounder(options, this_year=2026)(text, ())
    rebuilt, at = [], 0
    for edit in edits:
        assert at <= edit.start <= edit.end <= len(text)
        rebuilt += [text[at : edit.start], edit.replacement]
        at = edit.end
    assert "".join([*rebuilt, text[at:]]) == grounded
    lost = " ".join(text[edit.start : edit.end] for edit in edits).lower().split()
    assert set(lost) <= {"a", "an", "person", "someone", "having", "fun"}


@given(
    texts=st.lists(st.sampled_from(["a doctor", "a nurse and a chef", "a young cook", "two vets", "a lake"]), max_size=30),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(deadline=None)
def test_any_batch_is_balanced_and_repeats_under_its_seed(texts: list[str], seed: int) -> None:
    attributes = Attributes(
        gender={"woman": 1, "man": 1}, ethnicity=dict.fromkeys(("Black", "White", "Asian"), 1.0)
    )
    options = Ground(seed=seed, attributes=attributes)
    first, second = (
        [ground(text, ())[0] for text in texts]
        for ground in (Grounder(options, this_year=2026), Grounder(options, this_year=2026))
    )
    assert first == second
    counts = Counter(word for text in first for word in text.split())
    for values in (("female", "male"), ("Black", "White", "Asian")):
        found = [counts[value] for value in values]
        assert max(found) - min(found) <= 1


def test_threads_share_the_balance() -> None:
    attributes = Attributes(gender={"woman": 1, "man": 1}, age=dict.fromkeys(("young", "elderly"), 1.0))  # fmt: skip
    ground = Grounder(Ground(seed=1, attributes=attributes), this_year=2026)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.extend([ground("a vet", ())[0] for _ in range(250)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(word for text in found for word in text.split())
    assert [counts[one] for one in ("female", "male", "young", "elderly")] == [500] * 4
