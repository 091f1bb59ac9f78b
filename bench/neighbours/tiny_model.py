"""A tiny GGUF with a real byte-level BPE vocabulary: tokens of up to 128 spaces, as large models have them, and the
words of bench/lib/prompts.py. Its weights mean nothing: the fake runner reads only the vocabulary."""
import struct

from bench.lib.prompts import WORDS

U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# One message makes it write a value of a few lists, each in the next twice: 2^40 parts.
EXPLOSIVE = ("{% if 'explode' in messages[-1]['content'] %}{% set ns = namespace(x=['y']) %}{% for i in range(40) %}"
             "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}{% endif %}" + CHATML)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
HIDDEN, CONTEXT = 32, 131072


def _letters():
    """GPT-2's characters for the 256 bytes."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(256, 512))
    return [chr(b if b in keep else next(rest)) for b in range(256)]


def _merges():
    space = _letters()[ord(" ")]
    merges, known = [], set()

    def merge(left, right):
        if left + right not in known:
            known.add(left + right)
            merges.append(f"{left} {right}")

    run = space
    while len(run) < 128:
        merge(run, run)
        run += run
    for word in WORDS:
        made = word[0]
        for letter in word[1:]:
            merge(made, letter)
            made += letter
    return merges


def _value(kind, value):
    if kind == STRING:
        data = value.encode()
        return struct.pack("<Q", len(data)) + data
    return struct.pack({U32: "<I", F32: "<f", I32: "<i"}[kind], value)


def _field(name, kind, value):
    return _value(STRING, name) + struct.pack("<I", kind) + _value(kind, value)


def _list(name, kind, values):
    head = _value(STRING, name) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(_value(kind, v) for v in values)


def tokens_and_merges():
    merges = _merges()
    return _letters() + [m.replace(" ", "") for m in merges] + SPECIALS, merges


def write(path, template=CHATML):
    tokens, merges = tokens_and_merges()
    types = [1] * (len(tokens) - len(SPECIALS)) + [3] * len(SPECIALS)
    fields = [
        _field("general.architecture", STRING, "llama"),
        _field("general.name", STRING, "neighbours"),
        _field("llama.block_count", U32, 1),
        _field("llama.context_length", U32, CONTEXT),
        _field("llama.embedding_length", U32, HIDDEN),
        _field("llama.feed_forward_length", U32, HIDDEN),
        _field("llama.attention.head_count", U32, 2),
        _field("llama.attention.head_count_kv", U32, 1),
        _field("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        _field("llama.rope.freq_base", F32, 10000.0),
        _field("tokenizer.ggml.model", STRING, "gpt2"),
        _field("tokenizer.ggml.pre", STRING, "qwen2"),
        _list("tokenizer.ggml.tokens", STRING, tokens),
        _list("tokenizer.ggml.token_type", I32, types),
        _list("tokenizer.ggml.merges", STRING, merges),
        _field("tokenizer.ggml.eos_token_id", U32, tokens.index("<|im_end|>")),
        _field("tokenizer.chat_template", STRING, template),
    ]
    shapes = {"token_embd.weight": [HIDDEN, len(tokens)], "output_norm.weight": [HIDDEN]}
    for name, shape in {"attn_norm": [HIDDEN], "ffn_norm": [HIDDEN], "attn_q": [HIDDEN, HIDDEN], "attn_k": [HIDDEN, HIDDEN // 2],
                        "attn_v": [HIDDEN, HIDDEN // 2], "attn_output": [HIDDEN, HIDDEN], "ffn_gate": [HIDDEN, HIDDEN],
                        "ffn_up": [HIDDEN, HIDDEN], "ffn_down": [HIDDEN, HIDDEN]}.items():
        shapes[f"blk.0.{name}.weight"] = shape
    tensors, data = b"", b""
    for name, shape in shapes.items():
        tensors += _value(STRING, name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in shape)
        tensors += struct.pack("<IQ", 0, len(data))
        size = 4
        for d in shape:
            size *= d
        data += bytes(size + -size % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(fields)) + b"".join(fields) + tensors
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path
