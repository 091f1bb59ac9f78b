#!/usr/bin/env python3
"""Generates text/testdata: small tokenizers that are trained here, and the ids from Hugging Face tokenizers.

    make_tokenizer_fixture.py        (needs PyPI's tokenizers; run it only to change the fixtures)

NAME.json        a tokenizer.json: qwen (NFC, Split, ByteLevel) and sentencepiece (byte fallback)
NAME.vocabulary  the same in the form of a GGUF: lines of "token TYPE SCORE HEX" and "merge HEX"
NAME.golden      lines of "special|plain HEX-OF-THE-TEXT ID ID …"
"""
import json
import pathlib
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "answers"))
import lines  # noqa: E402

OUT = ROOT / "text" / "testdata"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def corpus():
    return [line.decode() for kind, line in lines.lines(4000) if kind not in ("rare", "special", "bad bytes", "mixed")]


def qwen():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True)
                                  for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return tokenizer, {}


def sentencepiece():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=1100, special_tokens=["<unk>", "<s>", "</s>"] + bytes_, limit_alphabet=300, max_token_length=12,
        show_progress=False))
    source = json.loads(tokenizer.to_str())
    scores = learned_scores(source["model"])
    source["added_tokens"] = source["added_tokens"][:3]  # byte tokens are normal vocabulary, not special
    source["model"]["merges"] = merges_as_converted(source["model"]["vocab"], scores)
    return Tokenizer.from_str(json.dumps(source)), scores


def learned_scores(model):
    """Piece → the negated rank of its merge, which is the score that sentencepiece's BPE gives its pieces."""
    return {"".join(merge): -float(rank) for rank, merge in enumerate(model["merges"])}


def merges_as_converted(vocab, scores):
    """As transformers converts from sentencepiece: every split of a piece into two pieces is a merge."""
    merges = []
    for piece in sorted(scores, key=scores.get, reverse=True):
        cuts = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        merges += sorted(cuts, key=lambda cut: (vocab[cut[0]], vocab[cut[1]]))
    return merges


def vocabulary(tokenizer, scores):
    source = json.loads(tokenizer.to_str())
    tokens = {i: t for t, i in source["model"]["vocab"].items()} | {t["id"]: t["content"] for t in source["added_tokens"]}
    types = {t["id"]: 3 if t["special"] else 4 for t in source["added_tokens"]}
    types |= {i: 6 for i, t in tokens.items() if scores and len(t) == 6 and t.startswith("<0x")}
    out = [f"token {types.get(i, 1)} {scores.get(t, 0) if scores else 0} {t.encode().hex()}" for i, t in sorted(tokens.items())]
    if not scores:
        out += ["merge " + " ".join(merge).encode().hex() for merge in source["model"]["merges"]]
    return "\n".join(out) + "\n"


def golden(tokenizer):
    out = []
    for _, line in lines.lines(36 * 3):
        text = line.decode("utf-8", "replace")
        for special in (True, False):
            tokenizer.encode_special_tokens = not special
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            out.append(" ".join(["special" if special else "plain", line.hex() or "-"] + [str(i) for i in ids]))
    return "\n".join(out) + "\n"


def main():
    OUT.mkdir(exist_ok=True)
    for name, make in (("qwen", qwen), ("sentencepiece", sentencepiece)):
        tokenizer, scores = make()
        text = tokenizer.to_str(pretty=False)
        (OUT / f"{name}.json").write_text(text + "\n")
        (OUT / f"{name}.vocabulary").write_text(vocabulary(tokenizer, scores))
        (OUT / f"{name}.golden").write_text(golden(tokenizer))
        print(name, tokenizer.get_vocab_size(), "tokens,", len(text) // 1000, "KB; tokenizers", tokenizers.__version__)


if __name__ == "__main__":
    main()
