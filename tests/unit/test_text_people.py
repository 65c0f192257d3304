"""Who is in a prompt, and what the words leave open."""

from __future__ import annotations

import pytest

from guardkit.text.people import find_people


def found(text: str, *, named: str | None = None) -> list[str]:
    """Noun and what is open, as "doctor gea": gender, ethnicity, age."""
    ranges = [(text.index(named), text.index(named) + len(named))] if named else []
    return [
        f"{text[one.start : one.end]} {''.join(sorted((kind[0] for kind in one.open), key='gea'.index))}"
        for one in find_people(text, this_year=2026, named=ranges)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("a doctor", ["doctor gea"], id="article"),
        pytest.param("doctor, hospital, 8k", ["doctor gea"], id="keywords"),
        pytest.param("A DOCTOR IN RED", ["DOCTOR gea"], id="capitals"),
        pytest.param("a brain surgeon", ["surgeon gea"], id="noun-before-the-noun"),
        pytest.param("a co-founder", ["founder gea"], id="hyphen-before"),
        pytest.param("a young doctor", ["doctor ge"], id="age-before"),
        pytest.param("a tall, young doctor", ["doctor ge"], id="age-before-a-comma"),
        pytest.param("a young and happy doctor", ["doctor ge"], id="age-and-more"),
        pytest.param("a doctor in her late forties", ["doctor e"], id="age-behind"),
        pytest.param("a 25-year-old doctor", ["doctor ge"], id="age-in-years"),
        pytest.param("a doctor, age 50, smiling", ["doctor ge"], id="age-as-keyword"),
        pytest.param("a white man", ["man a"], id="white-man"),
        pytest.param("a man in a white shirt", ["man ea"], id="white-shirt"),
        pytest.param("an old photo of a nurse", ["nurse gea"], id="old-photo"),
        pytest.param("a nurse under a young tree", ["nurse gea"], id="young-tree"),
        pytest.param("black and white photo of a nurse", ["nurse gea"], id="black-and-white"),
        pytest.param("a chef in an Italian restaurant", ["chef gea"], id="italian-restaurant"),
        pytest.param("an Italian chef", ["chef ga"], id="italian-chef"),
        pytest.param("a chef in Japan", ["chef ga"], id="place"),
        pytest.param("a chef of Asian descent", ["chef ga"], id="descent"),
        pytest.param("a woman doctor", ["doctor ea"], id="noun-as-adjective"),
        pytest.param("a mother", ["mother ea"], id="relation"),
        pytest.param("a child", ["child ge"], id="child"),
        pytest.param("a person with a beard", ["person ea"], id="beard"),
        pytest.param("a doctor and his patient", ["doctor ea", "patient gea"], id="pronoun"),
        pytest.param("a woman and a doctor with her dog", ["woman ea", "doctor gea"], id="pronoun-of-another"),
        pytest.param("a nurse helps a patient with her bag", ["nurse ea", "patient ea"], id="pronoun-in-doubt"),
        pytest.param("engineer, woman, hard hat", ["engineer ea"], id="keyword-woman"),
        pytest.param("two doctors", ["doctors gea"], id="plural"),
        pytest.param("a diverse group of doctors", ["doctors "], id="diverse-group"),
        pytest.param("people of all ages", ["people ge"], id="of-all-ages"),
        pytest.param("men and women of different ages", ["men e", "women e"], id="shared-phrase"),
        pytest.param("1000 doctors", ["doctors gea"], id="a-number-is-no-year"),
        pytest.param("a doctor, 1024x1024", ["doctor gea"], id="a-size-is-no-year"),
        pytest.param("a couple", ["couple ea"], id="couple"),
        pytest.param("a family", ["family e"], id="family"),
        pytest.param("a family of farmers", ["farmers gea"], id="family-of"),
        pytest.param("the doctor signs a paper", ["doctor gea"], id="verb-like-a-thing"),
        pytest.param("a chef. The chef smiles", ["chef gea"], id="the-same-again"),
        pytest.param("a woman who is a doctor", ["woman ea"], id="what-somebody-is"),
        pytest.param("a woman dressed as a doctor", ["woman ea"], id="role"),
    ],
)  # fmt: skip
def test_what_a_prompt_leaves_open_of_whom(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a fireman's pole",
        "the teachers' desk",
        "a nurse shark",
        "a king crab",
        "a detective story",
        "a doctor-themed mug",
        "a snowman",
        "a robot doctor",
        "a cat dressed as a chef",
        "a cartoon doctor",
        "a plastic toy soldier",
        "a statue of a soldier",
        "a wedding cake with a bride and groom figurine",
        "no people",
        "a beach without people",
        "a chair for children",
        "cook the rice",
        "guard rails",
        "<PERSON_1> on a beach",
        "Baker Street in the rain",
        "you clown",
    ],
)
def test_what_only_looks_like_a_person_is_none(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("doctor Jane Roe", []),
        ("Jane Roe, a doctor", []),
        ("Jane Roe is a doctor", []),
        ("the plumber, Jane Roe, and a guest", ["guest gea"]),
        ("a doctor named Jane Roe", []),
        ("jane roe the plumber", []),
        ("Jane Roe's doctor", []),
        ("Jane Roe and a doctor", ["doctor gea"]),
        ("Jane Roe in her kitchen with a guest", []),
        ("a doctor on a bench, a guest beside Jane Roe", ["doctor gea", "guest gea"]),
    ],
)
def test_who_is_named_is_left_alone(text: str, expected: list[str]) -> None:
    name = "Jane Roe" if "Jane Roe" in text else "jane roe"
    assert found(text, named=name) == expected


@pytest.mark.parametrize(
    "text",
    [
        "chef Gordon Ramble in a kitchen",
        "Bob the Builder",
        "the CEO of Apple",
        "Mary Poppleton, a nurse",
        "my doctor",
        "the president on a stage",
    ],
)
def test_capitals_and_articles_name_somebody_too(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "a soldier, 1916",
        "a nurse in 2019",
        "a 1950s waitress",
        "a medieval baker",
        "a 19th-century miner",
        "first woman on the moon",
        "historical photo of a miner",
        "a documentary about a farmer",
        "Victorian London, a baker",
    ],
)
def test_a_historic_or_factual_scene_is_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a criminal", []),
        ("a lazy person", []),
        ("a person who is lazy", []),
        ("a person in handcuffs", []),
        ("an angry customer and a clerk", ["clerk gea"]),
        ("a doctor treating a homeless man", ["doctor gea"]),
        ("a police officer next to a violent thief", ["officer gea"]),
        ("a police officer arresting a person", []),
    ],
)
def test_nobody_ill_spoken_of_is_given_a_group(text: str, expected: list[str]) -> None:
    assert [one.removeprefix("police ") for one in found(text)] == expected
