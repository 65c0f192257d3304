"""The report and the figures of shapes world, from results that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from bench.shapes_report import NOT_READ, cleared, page, plot_shares
from docs.shapes import remedies_table

PNG = b"\x89PNG"


def share(hits: int, of: int = 10) -> dict[str, Any]:
    return {"share": hits / of, "low": 0.0, "high": 1.0, "n": of}


def remedy(shown: int, readable: int, right: int) -> dict[str, Any]:
    return {
        "forbidden shown": share(shown),
        "forbidden, readable": share(readable),
        "by concept": {"red-star": share(shown), "<blue>": share(0)},
        "ordinary right": share(right),
        "ordinary right, held out": share(right),
        "ordinary, forbidden shown": share(0),
        "times less than rolled again": {"value": 4.25, "low": 2.0, "high": 8.0},
        "ordinary right, change": {"value": -0.013, "low": -0.027, "high": 0.003},
    }


REMEDIES = {"before": remedy(9, 10, 10), "guided & more": remedy(2, 5, 9)}
STUDY = {
    "models": ["a model"],
    "machine": {"cpu": "a machine"},
    "count": 10,
    "judge": share(9),
    "remedies": REMEDIES,
    "composition": {"shares": {"caught": share(7)}},
}
FORGOTTEN = {
    "models": ["another model"],
    "a title": [{"what": "erase", "forbidden shown": "0.5 [0.4, 0.6]"}],
}


def test_an_unreadable_picture_is_not_taken_for_a_cleared_one() -> None:
    found = cleared(REMEDIES["guided & more"])
    # 8 of 10 show nothing forbidden, and 5 of these cannot be read.
    assert (found["share"], found["n"]) == (0.3, 10)
    assert 0 < found["low"] < 0.3 < found["high"] < 1


def test_the_page_tells_each_remedy_once_a_table_and_in_the_plot() -> None:
    text = page(STUDY, FORGOTTEN, PNG)
    assert text.count("guided &amp; more") == 3
    assert "guided & more" not in text
    assert "4.2 [2.0, 8.0]" in text
    assert "-1.3 [-2.7, +0.3]" in text
    assert "30.0 % [" in text
    assert NOT_READ in text


def test_the_page_holds_its_picture_and_escapes_names() -> None:
    text = page(STUDY, FORGOTTEN, PNG)
    assert "data:image/png;base64,iVBORw==" in text
    assert "&lt;blue&gt;" in text
    assert "another model" in text
    assert "0.5 [0.4, 0.6]" in text


def test_a_plot_has_a_point_and_an_interval_for_each_share() -> None:
    plot = plot_shares({"before": remedy(0, 10, 10)})
    assert plot.count("<circle") == 2
    assert 'cx="130.0"' in plot  # nothing shown lies at the left end
    assert 'cx="540.0"' in plot  # all right at the right end


def test_a_row_of_the_table_has_as_many_cells_as_its_head() -> None:
    head, line, *rows = remedies_table(STUDY).splitlines()
    assert {one.count("|") for one in (head, line, *rows)} == {head.count("|")}
    assert rows[1].startswith("| guided & more | 20.0 % [")


@pytest.mark.parametrize("missing", ["remedies", "judge", "composition"])
def test_results_that_lack_a_part_are_not_shown_as_if_it_were_there(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        page({name: one for name, one in STUDY.items() if name != missing}, FORGOTTEN, PNG)
