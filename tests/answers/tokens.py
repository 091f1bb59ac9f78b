"""Token ids: Penstock's compared with Hugging Face tokenizers' on generated lines (lines.py).

    tokens.py --driver text_driver --out rows.jsonl [--lines 50000] [--only NAME ...]

One row for each tokenizer, source (GGUF, tokenizer.json) and treatment of special tokens; a row that
could not be measured contains the reason. This script does not judge the rows.
"""
import argparse
import json
import pathlib
import tempfile

import driver
import lines
import subjects


def compare(penstock, subject, special, text_lines):
    """Counts of equal lines, and the first line that differs."""
    subject.truth.encode_special_tokens = not special  # Hugging Face's name for "treat them as text"
    equal = decoded = 0
    first = None
    texts = [line.decode("utf-8", "replace") for _, line in text_lines]
    truths = [encoding.ids for encoding in subject.truth.encode_batch(texts, add_special_tokens=False)]
    spellings = subject.truth.decode_batch(truths, skip_special_tokens=True)
    for (kind, line), text, want, spelling in zip(text_lines, texts, truths, spellings):
        got = penstock.encode(line, special)
        equal += got == want
        said = penstock.decode(want).decode("utf-8", "replace")
        decoded += spelling in (said, said[1:] if said[:1] == " " else said)  # sentencepiece strips one space
        if got != want and first is None:
            first = {"kind": kind, "text": text, "got": got, "want": want}
    return {"lines": len(text_lines), "equal": equal, "decoded_equal": decoded, "first_difference": first}


def rows(program, only, text_lines, scratch):
    for subject in subjects.subjects(scratch):
        row = {"bench": "answers", "part": "tokens"}
        if isinstance(subject, tuple):
            if not only or subject[0] in only:
                yield row | {"model": subject[0], "unmeasured": subject[1]}
            continue
        if only and subject.name not in only:
            continue
        source = scratch / f"{subject.name}.json"
        source.write_text(subject.truth.to_str())
        for way, path in (("gguf", subject.path), ("tokenizer.json", source)):
            penstock = driver.Driver(program, path)
            backend, size = penstock.about().split()
            for special in (True, False):
                yield row | {"model": subject.name, "from": way, "special": special, "backend": backend,
                             "vocabulary": int(size), "truth": subject.provenance,
                             **compare(penstock, subject, special, text_lines)}
            penstock.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=lines.LINES)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    text_lines = lines.lines(arguments.lines)
    with arguments.out.open("w") as out, tempfile.TemporaryDirectory() as scratch:
        for row in rows(arguments.driver, arguments.only, text_lines, pathlib.Path(scratch)):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            print(*(f"{row[key]}" for key in ("model", "from", "special", "backend", "equal", "lines", "decoded_equal", "unmeasured") if key in row))


if __name__ == "__main__":
    main()
