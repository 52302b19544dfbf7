"""The page of generative against discriminative says what was measured."""

from __future__ import annotations

import json

from bench.versus import PAGE, RESULTS, page


def test_the_page_in_docs_is_made_of_the_results():
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()))


def test_the_page_follows_the_numbers():
    record = json.loads(RESULTS.read_text())
    tables = [r for r in record["rows"][:-1] if not r["rounds"]["learning"]]
    who, values = next(iter(tables[0]["rounds"]["results"].items()))
    for row in values:
        row[0] = 0.987
    assert f"| {who} | 0.987 |" in page(record)
