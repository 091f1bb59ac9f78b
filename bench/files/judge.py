#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the files bench. Reads nothing but the rows."""
import pathlib
import re
import sys
from collections import defaultdict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict  # noqa: E402

NEAR = 1e-3  # log-probabilities, f32 weights and f32 keys and values on both sides
CASES = 480
# Where we do not follow libllama: a byte-level BPE vocabulary without an EOS does not end at token 11, and a token for
# padding that a file names does not make the usual one a word of answers.
KNOWN = {"gpt2: eos_token_id=4294967295", "gpt2: no ids", "gpt2: fim_pad_token_id=5", "llama: fim_pad_token_id=5"}


def named(case):
    """Whether the refusal names the key that the case is about (or what contradicts it)."""
    return bool(re.search(r'"[^"]+"|tensor|architecture|layers|rows|dimensions', case["ours"].get("import") or
                          case["ours"].get("unserved") or case["ours"].get("native") or ""))


def distance(case):
    """Of the native runner from libllama; None: one of them computed nothing."""
    mine, truth = case["ours"].get("logprobs"), case["theirs"].get("logprobs")
    if not mine or not truth or None in truth:
        return None
    return max(abs(a - b) for a, b in zip(mine, truth))


def judge_native(verdict, cases):
    computed = [c for c in cases if c["ours"].get("logprobs")]
    wrong = [c for c in computed if distance(c) is None or distance(c) > NEAR]
    for case in wrong:
        print(f"silently wrong: {case['name']}: {distance(case)}")
    refused = [c for c in cases if not c["ours"].get("logprobs")]
    verdict.holds("files that the native runner serves: log-probabilities equal libllama's", len(computed) - len(wrong),
                  len(computed), f"largest difference {max((distance(c) or 0 for c in computed), default=0):.1e}")
    verdict.holds("files that it does not serve: refused by name", sum(map(named, refused)), len(refused))
    verdict.at_least("generated files", len(cases), CASES)


def judge_vocabulary(verdict, cases):
    held = of = 0
    for case in cases:
        mine, truth = case["ours"], case["theirs"]
        if "import" in mine or not truth["loads"] or case["name"] in KNOWN:
            continue
        of += 1
        differ = [k for k in ("ends", "control", "before", "after") if sorted(mine.get(k, [])) != sorted(truth[k])]
        held += not differ
        if differ:
            print(f"vocabulary differs: {case['name']}: {', '.join(f'{k} {mine.get(k)} {truth[k]}' for k in differ)}")
    verdict.holds("files on either runner: ends, control tokens, BOS and EOS equal libllama's", held, of)
    verdict.report("vocabularies that differ on purpose", ", ".join(sorted(KNOWN)))


def report_covered(verdict, cases):
    """A key is covered only if changing it changes libllama's result."""
    base = {c["name"]: c["theirs"].get("logprobs") for c in cases}
    changes = defaultdict(bool)
    for case in cases:
        match = re.match(r"(llama|qwen2|qwen3|qwen3moe)\.([a-z_.]+)=", case["name"])
        if match:
            changes[match[2]] |= case["theirs"].get("logprobs") != base[match[1]]
    verdict.report("keys that change libllama's result", ", ".join(sorted(k for k, v in changes.items() if v)))
    verdict.report("keys that do not", ", ".join(sorted(k for k, v in changes.items() if not v)))
    stricter = [c["name"] for c in cases if "import" in c["ours"] and c["theirs"]["loads"]]
    verdict.report("files that we refuse and libllama loads", f"{len(stricter)}: {', '.join(stricter)}")


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("files")
    cases = [r for r in rows if r["part"] == "case"]
    judge_native(verdict, cases)
    judge_vocabulary(verdict, cases)
    report_covered(verdict, cases)
    verdict.finish()


main()
