#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the architectures bench. Reads nothing but the rows."""
import pathlib
import sys
from collections import defaultdict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict  # noqa: E402

NEAR = 1e-3  # log-probabilities
ARCHITECTURES = 25
CLAIMS = {"one_answer": "a chat is answered, with exact usage", "stream_equals_whole": "a stream equals the whole answer",
          "batch_equals_alone": "eight at once equal each alone", "cancel_stops": "a client that leaves stops its sequence",
          "paused_equals_alone": "answers that were paused equal those that ran alone"}


def distance(row):
    """Of our best twenty log-probabilities from libllama's of the same tokens; None: nothing to compare."""
    if not row.get("top") or not row.get("theirs"):
        return None
    plain = dict(zip(row["tokens"], row["theirs"])) | {f"token_id:{i}": n for i, n in enumerate(row["theirs"])}
    ours = {text.replace(" ", "Ġ").replace("\n", "Ċ"): number for text, number in row["top"].items()}
    return max((abs(number - plain[text]) if text in plain and plain[text] is not None else 99.0)
               for text, number in ours.items())


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("architectures")
    by_part = defaultdict(list)
    for row in rows:
        by_part[row["part"]].append(row)
    for row in by_part["failed"] + by_part["unmade"]:
        print(f"{row['part']}: {row['name']}: {row['why'][-300:]}")
    distances = {row["name"]: distance(row) for row in by_part["logits"]}
    for name, far in distances.items():
        if far is None or far > NEAR:
            print(f"logits of {name}: {far}")
    near = [name for name, far in distances.items() if far is not None and far <= NEAR]
    verdict.holds("log-probabilities equal libllama's", len(near), len(distances) + len(by_part["failed"]),
                  f"largest difference {max((d for d in distances.values() if d is not None), default=0):.1e}")
    for claim, words in CLAIMS.items():
        for row in by_part[claim]:
            if not row["held"]:
                print(f"{claim}: {row['name']}: {({k: v for k, v in row.items() if k not in ('part', 'name')})}")
        verdict.holds(words, sum(row["held"] for row in by_part[claim]), len(by_part[claim]) + len(by_part["failed"]))
    whole = [n for n in near if all(any(r["name"] == n and r["held"] for r in by_part[c]) for c in CLAIMS)]
    verdict.at_least("architectures of which all of this holds", len(whole), ARCHITECTURES)
    paused = [row for row in by_part["paused_equals_alone"] if row.get("pauses")]
    verdict.report("architectures with a pause", f"{len(paused)} of {len(by_part['paused_equals_alone'])}")
    equal = [row for claim in ("batch_equals_alone", "paused_equals_alone") for row in by_part[claim] if "of" in row]
    verdict.report("runs equal to the last token", f"{sum(r['equal'] for r in equal)} of {sum(r['of'] for r in equal)}; "
                   "the others differ first where two tokens are almost equally likely")
    verdict.finish()


main()
