"""Every vocabulary: Penstock's token ids compared with references.

    vocabularies.py --driver text_driver --out rows.jsonl [--lines 2000] [--only NAME ...]

Three kinds of reference, one row for each comparison:
  fixture     the vocabulary files of llama.cpp's source tree, with the inputs and expected ids beside them
  libllama    libllama itself, on a made vocabulary whose tokens cross every border of words, under each name
  tokenizers  Hugging Face's tokenizers, on the tokenizer.json that a package has (tokens.py measures more lines)
A row that could not be measured has the reason. This script does not judge.
"""
import argparse
import json
import pathlib
import re
import struct
import subprocess
import tempfile

import gguf
import tokenizers

import driver
import lines
import subjects

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONTROL, USER_DEFINED, NORMAL, BYTE, UNKNOWN = subjects.CONTROL, subjects.USER_DEFINED, subjects.NORMAL, subjects.BYTE, subjects.UNKNOWN
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>"]
PIECES = 8000


def peer():
    """(the program, the folder of libraries, llama.cpp's source tree), downloaded and built once."""
    folder = pathlib.Path(subprocess.run([ROOT / "tools/get_peer.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    source, target = pathlib.Path(__file__).with_name("vocabulary_peer.cc"), folder / "bin/vocabulary_peer"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(exist_ok=True)
        libraries = [folder / "lib" / f"lib{name}.so" for name in ("llama", "ggml", "ggml-base")]
        subprocess.run(["clang++-19", "-std=c++23", "-O2", "-isystem", folder / "include", source, "-o", target, *libraries,
                        f"-Wl,-rpath,{folder / 'lib'}"], check=True)
    return target, folder / "lib", folder / "src"


def names_of(source):
    """Every pre-tokenizer that libllama reads, from its source."""
    text = (source / "src/llama-vocab.cpp").read_text()
    found = re.findall(r'tokenizer_pre == "([^"]+)"', text)
    return list(dict.fromkeys(found))


def byte_characters():
    """GPT-2's characters for the bytes."""
    own = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    rest = iter(range(0x100, 0x200))
    return [chr(b) if b in own else chr(next(rest)) for b in range(256)]


def trained(raw):
    """(tokens, types, merges): trained without any border of words, so each cut that differs shows in the ids. `raw`: on
    UTF-8 with U+2581 for a space and tokens for bytes, not on bytes as characters."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=raw))
    if raw:
        tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("\\n"), "isolated")
        alphabet = []
    else:
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        alphabet = byte_characters()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=alphabet, show_progress=False, max_token_length=24)
    texts = [line.decode("utf-8", "ignore") for kind, line in lines.lines(6000, seed=7) if kind not in ("rare", "bad bytes", "special", "mixed")]
    tokenizer.train_from_iterator([text.replace("\u2581", "_") for text in texts], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [text for text, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    types = [NORMAL] * len(tokens)
    if raw:
        tokens += [f"<0x{b:02X}>" for b in range(256)]
        types += [BYTE] * 256
    tokens += [*SPECIALS, "<think>"]
    types += [CONTROL] * len(SPECIALS) + [USER_DEFINED]
    return tokens, types, [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def compare(ours, theirs, text_lines):
    """Counts of equal lines for both treatments of special tokens, and the first that differs."""
    result = {"lines": 0, "equal": 0, "decoded_equal": 0, "differences": []}
    for special in (True, False):
        for kind, line in text_lines:
            text = line.decode("utf-8", "replace").encode()  # both get the same valid text
            got, want = ours.encode(text, special), theirs.encode(text, special)
            result["lines"] += 1
            result["equal"] += got == want
            result["decoded_equal"] += ours.decode(want) == theirs.decode(want)
            if got != want and len(result["differences"]) < 20:
                result["differences"].append({"kind": kind, "text": text.decode(), "got": got, "want": want, "special": special})
    return result


class Tokenizers:
    """Hugging Face's tokenizer with the driver's methods."""

    def __init__(self, truth):
        self.truth = truth

    def encode(self, text, special):
        self.truth.encode_special_tokens = not special
        return self.truth.encode(text.decode(), add_special_tokens=False).ids

    def decode(self, ids):
        return self.truth.decode(ids, skip_special_tokens=True).encode()


def with_tensor(path, scratch):
    """A copy of a GGUF that has only metadata, with one small tensor: Penstock refuses files without any."""
    fields = gguf.GGUFReader(path).fields.values()
    end = max(field.offset + sum(part.nbytes for part in field.parts) for field in fields if not field.name.startswith("GGUF."))
    data = path.read_bytes()[:end]
    name = b"token_embd.weight"
    head = data[:8] + struct.pack("<Q", 1) + data[16:] + struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 32, 0, 0)
    copy = scratch / path.name
    copy.write_bytes(head + bytes(-len(head) % 32) + bytes(32 * 4))
    return copy


def fixtures(program, source, scratch):
    for path in sorted((source / "models").glob("ggml-vocab-*.gguf")):
        row = {"part": "vocabularies", "name": path.stem.removeprefix("ggml-vocab-"), "reference": "fixture"}
        inputs, outputs = path.with_name(path.name + ".inp"), path.with_name(path.name + ".out")
        path = with_tensor(path, scratch)
        why = opens(program, path)
        if not inputs.exists() or why != "yes":
            yield row | {"unmeasured": "llama.cpp has no inputs for it", "opens": why} if why == "yes" else row | {"refused": why}
            continue
        texts = inputs.read_text().split("\n__ggml_vocab_test__\n")
        wants = [[int(n) for n in line.split()] for line in outputs.read_text().splitlines()]
        ours = driver.Driver(program, path)
        differences = [{"text": text, "got": got, "want": want} for text, want in zip(texts, wants)
                       if (got := ours.encode(text.encode(), False)) != want]
        yield row | {"lines": len(texts), "equal": len(texts) - len(differences), "differences": differences}
        ours.close()


def opens(program, path):
    done = subprocess.run([program, path], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return done.stderr.strip() or "yes"


def made(program, peer_program, libraries, names, text_lines, scratch):
    made_of = {}
    for name in names:
        row = {"part": "vocabularies", "name": name or "(none)", "reference": "libllama"}
        raw = name in ("gemma4", "granite-embed-multi-311m", "sarvam-moe")
        if raw not in made_of:
            made_of[raw] = trained(raw)
        tokens, types, merges = made_of[raw]
        path = scratch / "made.gguf"
        subjects.write_gguf(path, "llama", "gemma4" if name == "gemma4" else "gpt2", name, tokens, types, merges=merges)
        why = opens(program, path)
        if why != "yes":
            yield row | {"refused": why}
            continue
        ours, theirs = driver.Driver(program, path), PeerDriver(peer_program, libraries, path)
        yield row | {"backend": ours.about().split()[0], **compare(ours, theirs, text_lines)}
        ours.close()
        theirs.close()


class PeerDriver(driver.Driver):
    def __init__(self, program, libraries, path):
        self.process = subprocess.Popen([program, libraries, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    peer_program, libraries, source = peer()
    text_lines = lines.lines(arguments.lines)
    names = names_of(source)
    with arguments.out.open("w") as out, tempfile.TemporaryDirectory() as scratch:
        wanted = [name for name in names if not arguments.only or name in arguments.only]
        scratch = pathlib.Path(scratch)
        for row in fixtures(arguments.driver, source, scratch) if not arguments.only else ():
            report(row, out)
        for row in made(arguments.driver, peer_program, libraries, wanted, text_lines, scratch):
            report(row, out)


def report(row, out):
    out.write(json.dumps(row, ensure_ascii=False) + "\n")
    out.flush()
    print(*(f"{row[key]}" for key in ("reference", "name", "backend", "equal", "lines", "decoded_equal", "refused", "unmeasured", "opens") if key in row), flush=True)


if __name__ == "__main__":
    main()
