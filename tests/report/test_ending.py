"""The last lines of `make repro`."""

from dataclasses import replace
from pathlib import Path

from test_comparison import RECORD, answering

from exemplar.report import answers, comparison, ending


def test_it_ends_with_the_answer_the_table_and_the_page(tmp_path: Path):
    """What is printed is what comparison.csv says, in at most 100 columns."""
    records = [answering("exemplar", 0.7), answering("random", 0.5), replace(RECORD, dataset="photos")]
    rows = comparison.table(records, unlabeled="stl10")
    rows.to_csv(tmp_path / "comparison.csv", index=False)
    said = "\n".join(ending.ending(tmp_path)).splitlines()
    assert said[1] == answers.headline(rows)
    assert said[4].split() == ["stl10", "exemplar", "70.0", "±", "0.0", "60.9", "to", "79.1", "67.1", "±", "0.2"]
    assert max(map(len, said[3:-1])) <= 100
    assert said[-1] == f"the page: {tmp_path / 'report.html'}"
