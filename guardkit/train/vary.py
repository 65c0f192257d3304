"""Make a drawn training text its own: fill its slots, and mistype some of its words.

A written text such as "portrait of {one} reading" comes out with another group at every draw, so a
group alone never tells a harmful text from a harmless one (counterfactual templates: Markov et al.,
arXiv 2208.03274, section "counterfactual").
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

# Plural and singular stand at the same place of both lists.
_GROUPS = (
    ("women", "a woman"),
    ("men", "a man"),
    ("immigrants", "an immigrant"),
    ("refugees", "a refugee"),
    ("foreigners", "a foreigner"),
    ("Muslims", "a Muslim"),
    ("Jews", "a Jew"),
    ("Jewish people", "a Jewish person"),
    ("Christians", "a Christian"),
    ("Hindus", "a Hindu"),
    ("Sikhs", "a Sikh"),
    ("Black people", "a Black person"),
    ("white people", "a white person"),
    ("Asians", "an Asian person"),
    ("Latinos", "a Latino"),
    ("Arabs", "an Arab"),
    ("Mexicans", "a Mexican"),
    ("Chinese people", "a Chinese person"),
    ("Indians", "an Indian"),
    ("Africans", "an African"),
    ("Roma people", "a Roma person"),
    ("Native Americans", "a Native American"),
    ("gay people", "a gay person"),
    ("gays", "a gay man"),
    ("lesbians", "a lesbian"),
    ("bisexual people", "a bisexual person"),
    ("trans people", "a trans person"),
    ("transgender women", "a transgender woman"),
    ("disabled people", "a disabled person"),
    ("blind people", "a blind person"),
    ("deaf people", "a deaf person"),
    ("autistic people", "an autistic person"),
    ("old people", "an old person"),
    ("fat people", "a fat person"),
)
_SLOTS: dict[str, tuple[str, ...]] = {
    "group": tuple(plural for plural, _ in _GROUPS),
    "one": tuple(singular for _, singular in _GROUPS),
    "name": ("Anna", "Ben", "Carla", "Dev", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jamal", "Kenji", "Lena", "Marcus", "Nadia"),
    "name2": ("Omar", "Paula", "Quinn", "Rosa", "Sam", "Tariq", "Uma", "Viktor", "Wen", "Yusuf", "Zoe", "Liam", "Mei", "Tom"),
    "city": ("Berlin", "Lagos", "Osaka", "Lyon", "Boston", "Mumbai", "Leeds", "Porto", "Denver", "Cairo", "Lima", "Perth"),
    "country": ("Canada", "Kenya", "Poland", "Peru", "Japan", "Turkey", "Norway", "India", "Chile", "Ireland"),
    "job": ("nurse", "plumber", "teacher", "driver", "engineer", "waiter", "lawyer", "farmer", "designer", "clerk"),
    "relative": ("my sister", "my boss", "my brother", "my neighbour", "my mother", "my ex", "my uncle", "my roommate", "my husband", "my wife"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "food": ("pizza", "soup", "curry", "tacos", "sushi", "pancakes", "lentils", "noodles"),
    "animal": ("dog", "cat", "horse", "parrot", "goat", "rabbit", "fox", "cow"),
    "game": ("Minecraft", "Mario Kart", "Street Fighter", "Fortnite", "Dark Souls", "Tetris", "Overwatch", "chess online"),
    "app": ("Instagram", "WhatsApp", "Discord", "Spotify", "Slack", "TikTok", "Gmail"),
    "team": ("Arsenal", "the Lakers", "Bayern", "the Yankees", "Juventus", "the Rangers"),
    "hobby": ("chess", "knitting", "climbing", "fishing", "painting", "cycling", "baking", "running"),
}  # fmt: skip
SLOTS = frozenset(_SLOTS)
_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[A-Za-z]{4,}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def fill(text: str, rng: np.random.Generator) -> str:
    """Put a random filler into every slot; a slot that occurs twice gets the same one.

    >>> fill("Say hello to {name}", np.random.default_rng(0)).startswith("Say hello to ")
    True
    """
    if "{" not in text:
        return text
    group = int(rng.integers(len(_GROUPS)))  # {group} and {one} of a text name the same people

    def filler(match: re.Match[str]) -> str:
        slot = match.group(1)
        fillers = _SLOTS.get(slot)
        if fillers is None:
            return match.group()
        if slot not in chosen:
            at = group if slot in ("group", "one") else int(rng.integers(len(fillers)))
            chosen[slot] = fillers[at]
        return chosen[slot]

    chosen: dict[str, str] = {}
    return _SLOT.sub(filler, text)


def mistype(text: str, rng: np.random.Generator, *, words: int = 1) -> str:
    """Change one letter in some words of four letters and more, as hurried or hiding writers do.

    >>> mistype("plain", np.random.default_rng(1)) != "plain"
    True
    """
    matches = list(_WORD.finditer(text))
    if not matches:
        return text
    picks = rng.choice(len(matches), size=min(words, len(matches)), replace=False)
    for match in sorted((matches[pick] for pick in picks), key=re.Match.start, reverse=True):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        changed = change(match.group(), int(rng.integers(1, len(match.group()) - 1)), rng)
        text = text[: match.start()] + changed + text[match.end() :]
    return text


def _swap(word: str, at: int, _: np.random.Generator) -> str:
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _drop(word: str, at: int, _: np.random.Generator) -> str:
    return word[:at] + word[at + 1 :]


def _double(word: str, at: int, _: np.random.Generator) -> str:
    return word[:at] + word[at] + word[at:]


def _insert(word: str, at: int, rng: np.random.Generator) -> str:
    return word[:at] + _LETTERS[int(rng.integers(26))] + word[at:]


def _replace(word: str, at: int, rng: np.random.Generator) -> str:
    return word[:at] + _LETTERS[int(rng.integers(26))] + word[at + 1 :]


def _hide(word: str, at: int, rng: np.random.Generator) -> str:
    return word[:at] + "*#._"[int(rng.integers(4))] + word[at + 1 :]


def _split(word: str, at: int, _: np.random.Generator) -> str:
    return word[:at] + " " + word[at:]


_Change = Callable[[str, int, np.random.Generator], str]
_CHANGES: tuple[_Change, ...] = (_swap, _drop, _double, _insert, _replace, _hide, _split)
