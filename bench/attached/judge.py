#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the attached bench, and prints what each server was found to support."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, median  # noqa: E402

BAR = 0.9


def table(rows):
    """Servers and their abilities as a Markdown table."""
    found = {r["server"]: dict(reversed(split(part)) for part in r["can"].split(", ")) for r in rows if r["can"]}
    abilities = list(dict.fromkeys(name for can in found.values() for name in can))
    print("| server | " + " | ".join(abilities) + " |\n|" + "---|" * (len(abilities) + 1))
    for server, can in found.items():
        print(f"| {server} | " + " | ".join(can.get(name, "no") for name in abilities) + " |")
    print()


def split(part):
    for name in ("prompt", "ids"):
        if part.startswith(name + " "):
            return part[len(name) + 1:], name
    name = part.removeprefix("no ")
    shown = "repetition_penalty" if name == "repeat_penalty" else name
    return ("no" if part.startswith("no ") else "yes" if shown == name else f"as {name}"), shown


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("attached")
    table([r for r in rows if r["row"] == "abilities"])
    for row in rows:
        if row["row"] == "missing":
            verdict.missing(row["server"], row["why"])
        elif row["row"] == "check":
            verdict.holds(f"{row['server']}: {row['check']}", int(row["held"]), 1)
        elif row["row"] == "throughput":
            ratio = median(row["attached"]) / median(row["direct"])
            verdict.at_least(f"{row['server']}: tokens/s through Penstock ÷ directly, {row['clients']} clients", ratio, BAR,
                             note=f"{median(row['attached']):.1f} / {median(row['direct']):.1f}, learnt limit {row['may_run']}")
        elif row["row"] == "counts":
            verdict.report(f"{row['server']}: requests whose count differs from the server's own count",
                           f"{row['differ']} {row['example'] if row['differ'] else ''}")
    verdict.finish()


main()
