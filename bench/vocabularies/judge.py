#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the vocabularies bench.

Each name must equal its reference on every line. Where tokenizers and libllama differ, tokenizers decides (a row of
that reference must be there) and the difference from libllama is only reported.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict  # noqa: E402

LINES = 2000
NOT_YET = ("whitespace",)  # refused by name, as docs/vocabularies.md says


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("vocabularies")
    decided = {row["name"] for row in rows if row["reference"] == "tokenizers" and "equal" in row}
    for reference in ("fixture", "libllama", "tokenizers"):
        mine = [row for row in rows if row["reference"] == reference]
        if not mine:
            verdict.missing(reference, "no rows")
        for row in mine:
            name = f"{row['name']} = {reference}"
            if "unmeasured" in row:
                verdict.report(name, row["unmeasured"])
            elif "refused" in row:
                if row["name"] in NOT_YET:
                    verdict.report(name, row["refused"])
                else:
                    verdict.missing(name, row["refused"])
            elif reference == "libllama" and row["name"] in decided and row["equal"] < row["lines"]:
                verdict.report(name, f"{row['equal']:,} of {row['lines']:,}; tokenizers decides")
            else:
                # Fixtures have as many texts as llama.cpp wrote.
                verdict.holds(name, row["equal"], row["lines"] if reference == "fixture" else max(row["lines"], row["due"]),
                              row.get("truth", ""))
    verdict.finish()


main()
