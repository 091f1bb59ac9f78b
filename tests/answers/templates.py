"""Prompts: Penstock's rendering of chat templates compared with transformers' (its sandboxed jinja2) on
generated conversations (conversations.py), including tools.

    templates.py --driver text_driver --out rows.jsonl [--count 200] [--only NAME ...]

One row for each template. A conversation that the template itself refuses counts as equal if both
refuse it, and is also counted separately.
"""
import argparse
import json
import pathlib
import tempfile

import jinja2
import transformers
import transformers.utils.chat_template_utils as truth

import conversations
import driver
import subjects


def wanted(template, context):
    """transformers' text, or None if it refuses."""
    rest = {key: value for key, value in context.items() if key not in ("messages", "tools", "documents")}
    try:
        rendered, _ = truth.render_jinja_template([context["messages"]], tools=context["tools"],
                                                  documents=context["documents"], chat_template=template, **rest)
        return rendered[0]
    except Exception:  # a template can make Python raise anything
        return None


def rendered(penstock, context):
    try:
        return penstock.render(context), None
    except driver.Failure as failure:
        return None, str(failure)


def compare(penstock, template, specials, count):
    equal = refused = 0
    first = None
    for seed in range(count):
        context = conversations.conversation(seed) | specials
        want, (got, error) = wanted(template, context), rendered(penstock, context)
        equal += got == want
        refused += got is None and want is None
        if got != want and first is None:
            first = {"seed": seed, "got": got, "error": error, "want": want}
    return {"conversations": count, "equal": equal, "both_refuse": refused, "first_difference": first}


def rows(program, only, count, scratch):
    for subject in subjects.subjects(scratch):
        row = {"bench": "answers", "part": "templates"}
        name = subject[0] if isinstance(subject, tuple) else subject.name
        if only and name not in only:
            continue
        if isinstance(subject, tuple):
            yield row | {"model": name, "unmeasured": subject[1]}
        elif not subject.template:
            yield row | {"model": name, "unmeasured": "its package has no chat template"}
        else:
            penstock = driver.Driver(program, subject.path)
            penstock.compile(subject.template)
            yield row | {"model": name, "truth": f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}",
                         **compare(penstock, subject.template, subject.specials, count)}
            penstock.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    with arguments.out.open("w") as out, tempfile.TemporaryDirectory() as scratch:
        for row in rows(arguments.driver, arguments.only, arguments.count, pathlib.Path(scratch)):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            print(*(f"{row[key]}" for key in ("model", "equal", "conversations", "both_refuse", "unmeasured") if key in row))


if __name__ == "__main__":
    main()
