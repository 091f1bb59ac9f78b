"""Tiny random model files for the files bench: a GGUF of any architecture of the native runner, and changes to it."""
import array
import functools
import random
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMAT = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q", I64: "<q",
          F64: "<d"}
HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD, LAYERS, EXPERTS = 64, 4, 2, 16, 128, 2, 4
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<s>", "</s>", "<|fim_prefix|>",
            "<|fim_pad|>", "<|end|>", "<|return|>", "<|call|>", "<|channel|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "o r"]
TOKENS = 256 + len(MERGES) + len(SPECIALS)
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack(FORMAT[kind], value)


def byte_characters():
    """GPT-2's printable character for each byte."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    extra = iter(range(256, 512))
    return [chr(b) if b in keep else chr(next(extra)) for b in range(256)]


def packed(floats):
    return floats if isinstance(floats, bytes) else array.array("f", floats).tobytes()


class Gguf:
    """keys: name → (type, value) or (type, [values]); tensors: name → (dims, fastest first; floats)."""

    def __init__(self):
        self.keys, self.tensors = {}, {}

    def set(self, name, kind, value):
        self.keys[name] = (kind, value)
        return self

    def bytes(self, tensors=None, keys=None):
        tensors, keys = self.tensors if tensors is None else tensors, self.keys if keys is None else keys
        out, data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)), b""
        for name, (kind, value) in keys.items():
            out += text(name)
            if isinstance(value, list):
                out += struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(scalar(kind, v) for v in value)
            else:
                out += struct.pack("<I", kind) + scalar(kind, value)
        for name, (dims, floats) in tensors.items():
            out += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
            out += struct.pack("<IQ", 0, len(data))
            raw = packed(floats)
            data += raw + b"\0" * (-len(raw) % 32)
        return out + b"\0" * (-len(out) % 32) + data

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.bytes())
        return path

    def write_parts(self, folder, stem, count):
        """As llama-gguf-split: the metadata in the first part, the tensors over all of them."""
        folder.mkdir(parents=True, exist_ok=True)
        names, paths = list(self.tensors), []
        for i in range(count):
            keys = dict(self.keys) if i == 0 else {}
            keys.update({"split.no": (U16, i), "split.count": (U16, count), "split.tensors.count": (I32, len(names))})
            paths.append(folder / f"{stem}-{i + 1:05}-of-{count:05}.gguf")
            paths[-1].write_bytes(self.bytes({n: self.tensors[n] for n in names[i::count]}, keys))
        return paths


def fill(g, arch, rng):
    def matrix(name, rows, cols, scale, *more):
        count = rows * cols * (more[0] if more else 1)
        g.tensors[name] = ([cols, rows, *more], [rng.gauss(0, scale) for _ in range(count)])

    def ones(name, size):
        g.tensors[name] = ([size], [1 + rng.gauss(0, 0.1) for _ in range(size)])

    matrix("token_embd.weight", TOKENS, HIDDEN, 1.0)
    ones("output_norm.weight", HIDDEN)
    for i in range(LAYERS):
        p = f"blk.{i}."
        ones(p + "attn_norm.weight", HIDDEN)
        ones(p + "ffn_norm.weight", HIDDEN)
        matrix(p + "attn_q.weight", HEADS * HEAD_DIM, HIDDEN, 0.15)
        matrix(p + "attn_k.weight", KV_HEADS * HEAD_DIM, HIDDEN, 0.15)
        matrix(p + "attn_v.weight", KV_HEADS * HEAD_DIM, HIDDEN, 0.15)
        matrix(p + "attn_output.weight", HIDDEN, HEADS * HEAD_DIM, 0.15)
        if arch == "qwen2":
            for part, size in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
                g.tensors[p + f"attn_{part}.bias"] = ([size * HEAD_DIM], [rng.gauss(0, 0.15) for _ in range(size * HEAD_DIM)])
        if arch.startswith("qwen3"):
            ones(p + "attn_q_norm.weight", HEAD_DIM)
            ones(p + "attn_k_norm.weight", HEAD_DIM)
        if arch == "qwen3moe":
            matrix(p + "ffn_gate_inp.weight", EXPERTS, HIDDEN, 0.15)
            matrix(p + "ffn_gate_exps.weight", FEED_FORWARD, HIDDEN, 0.15, EXPERTS)
            matrix(p + "ffn_up_exps.weight", FEED_FORWARD, HIDDEN, 0.15, EXPERTS)
            matrix(p + "ffn_down_exps.weight", HIDDEN, FEED_FORWARD, 0.15, EXPERTS)
        else:
            matrix(p + "ffn_gate.weight", FEED_FORWARD, HIDDEN, 0.15)
            matrix(p + "ffn_up.weight", FEED_FORWARD, HIDDEN, 0.15)
            matrix(p + "ffn_down.weight", HIDDEN, FEED_FORWARD, 0.15)
    if arch == "qwen3moe":
        g.set("qwen3moe.expert_count", U32, EXPERTS).set("qwen3moe.expert_used_count", U32, 2)
        g.set("qwen3moe.expert_feed_forward_length", U32, FEED_FORWARD)


@functools.cache
def floats(arch, seed):
    """Tensors of an architecture: name → (dims, values)."""
    g = Gguf()
    fill(g, arch, random.Random(seed))
    return {name: (dims, packed(values)) for name, (dims, values) in g.tensors.items()}


def tiny(arch="llama", model="gpt2", seed=7):
    tokens = byte_characters() + [m.replace(" ", "") for m in MERGES] + SPECIALS
    g = Gguf()
    g.set("general.architecture", STRING, arch).set("general.name", STRING, "tiny")
    for name, value in {"block_count": LAYERS, "context_length": 512, "embedding_length": HIDDEN,
                        "feed_forward_length": FEED_FORWARD, "attention.head_count": HEADS,
                        "attention.head_count_kv": KV_HEADS, "attention.key_length": HEAD_DIM,
                        "attention.value_length": HEAD_DIM}.items():
        g.set(f"{arch}.{name}", U32, value)
    g.set(f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-5).set(f"{arch}.rope.freq_base", F32, 10000.0)
    g.set("tokenizer.ggml.model", STRING, model)
    g.set("tokenizer.ggml.tokens", STRING, tokens)
    types = [NORMAL] * (len(tokens) - len(SPECIALS)) + [CONTROL] * len(SPECIALS)
    g.set("tokenizer.ggml.token_type", I32, types)
    if model == "llama":
        g.set("tokenizer.ggml.scores", F32, [0.0] * len(tokens))
    else:
        g.set("tokenizer.ggml.pre", STRING, "qwen2").set("tokenizer.ggml.merges", STRING, MERGES)
    g.set("tokenizer.ggml.eos_token_id", U32, tokens.index("<|endoftext|>"))
    g.set("tokenizer.ggml.bos_token_id", U32, tokens.index("<|begin_of_text|>"))
    g.tensors = dict(floats(arch, seed))
    return g
