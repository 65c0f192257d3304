"""Write the names that the scorer `public-figures` knows: `python data/make_public_figures.py ../shared/data/pii`.

Sources: Pantheon 1.0 (Yu et al., Scientific Data 2016, CC BY 4.0) and the lists of dariusk/corpora and
unitedstates/congress-legislators (CC0); which names are common: US Census 1990 (public domain).

Left out are names that a private person may as well have: a first and a last name that are both common in the
US, unless the person is famous enough (page views); single words, but for those of very famous people that are neither
a census name nor an everyday word; and a few that are everyday words or things.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from guardkit.text.public_figures import words_of

OUT = Path(__file__).parent.parent / "guardkit" / "text" / "public_figures.txt"
_COMMON_FIRST, _COMMON_LAST = 150, 300  # ranks; chosen: about half of the US has such a first name
_FAMOUS = 8_000_000  # English page views 2008 to 2013; chosen: Michael Jordan stays, John Williams does not
_FAMOUS_WORD = 1_500_000
_SHORTEST_WORD, _SHORTEST_PART = 6, 3
_EVERYDAY = frozenset(["prince", "madonna", "genius", "genesis", "raphael", "michelangelo", "donatello", "homer", "virgin", "christ", "buddha", "pharaoh", "bishop", "sultan", "caesar", "mercury"])  # fmt: skip

# Names of people that are everyday words or things as well.
_PHRASES = frozenset({
    "the edge", "the hills", "the situation", "the rock", "the rev", "the eagles", "the bachelorette", "the miz", "mr perfect",
    "big show", "big e", "triple h", "king scorpion", "50 cent", "les paul", "ice cube", "mother jones", "saint peter",
})  # fmt: skip


def main(folder: Path) -> None:
    """Read the lists, write the names."""
    first, last = _common(folder)
    names = dict(_pantheon(folder))
    for row in _others(folder):
        names.setdefault(" ".join(words_of(row)), 0)
    kept = sorted(name for name, views in names.items() if _is_kept(name, views, first, last))
    OUT.write_text("\n".join(kept) + "\n", "utf-8")
    print(f"{len(kept)} of {len(names)} names")


def _is_kept(name: str, views: int, first: dict[str, int], last: dict[str, int]) -> bool:
    words = name.split()
    if name in _PHRASES or all(len(word) < _SHORTEST_PART for word in words):
        return False
    if len(words) == 1:
        is_name = name in first or name in last
        return (
            views >= _FAMOUS_WORD
            and len(name) >= _SHORTEST_WORD
            and not is_name
            and name not in _EVERYDAY
        )
    if len(words) > 2:
        return True
    is_common = (
        first.get(words[0], 10**6) <= _COMMON_FIRST and last.get(words[1], 10**6) <= _COMMON_LAST
    )
    return views >= _FAMOUS or not is_common


def _common(folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """First and last names of the US -> rank."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for row in _rows(folder / "names_places" / "us_census_names.csv.gz"):
        ranks = last if "last" in row["kind"] else first
        word = row["name"].casefold()
        ranks[word] = min(int(row["rank"]), ranks.get(word, 10**6))
    return first, last


def _pantheon(folder: Path) -> Iterator[tuple[str, int]]:
    for row in _rows(folder / "public_figures" / "pantheon.csv.gz"):
        yield " ".join(words_of(row["name"])), int(float(row["PageViewsEnglish"] or 0))


def _others(folder: Path) -> Iterator[str]:
    for row in _rows(folder / "public_figures" / "others.csv.gz"):
        # "Jane Roe, Jr.", "John Roe & family", "George Roe [2001-2009]"
        yield re.split(r"[,&\[(]", row["name"])[0]


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
