"""Folders of the files bench: config.json files that differ in a field or two, and their truth.

The truth is transformers' own class of the configuration (its defaults, precedence and rejections); the forward pass is
computed here with numpy from that object, and held to the logits of transformers that model/testdata has.
"""
import json
import math
import struct

import numpy as np

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD, LAYERS, VOCABULARY, EXPERTS = 64, 4, 2, 16, 96, 2, 80, 4
TOKENS = 40
TYPES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe")

# Fields that are set in each folder, and those that one case changes: {} leaves the folder as it is.
LINEAR, YARN = {"rope_type": "linear", "factor": 4.0}, {"rope_type": "yarn", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
CHANGES = [
    {}, {"rope_theta": 5e5}, {"rope_theta": None}, {"rope_scaling": None}, {"rope_scaling": {}}, {"rope_parameters": {}},
    {"rope_scaling": LINEAR}, {"rope_scaling": YARN}, {"rope_scaling": LLAMA3}, {"rope_parameters": LINEAR},
    {"rope_parameters": {**YARN, "rope_theta": 5e5}}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    {"rope_parameters": {**LINEAR, "rope_theta": 5e5}, "rope_scaling": YARN},
    {"rope_parameters": {**LINEAR, "rope_theta": 5e5}, "rope_scaling": YARN, "rope_theta": 7e4},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": 7e4},
    {"rope_parameters": {"rope_type": "default", "rope_theta": None}},
    {"rope_scaling": {"type": "linear", "factor": 4.0}}, {"rope_scaling": {"type": "yarn"}}, {"rope_scaling": {"type": "linear"}},
    {"rope_scaling": {"type": "yarn", "factor": None, "original_max_position_embeddings": 64}},
    {"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 4.0}},
    {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, {"rope_scaling": {"rope_type": "unheard_of"}},
    {"rope_scaling": {"rope_type": "default", "factor": 8.0}},
    {"rope_scaling": {**YARN, "original_max_position_embeddings": 64}},
    {"rope_scaling": {**YARN, "original_max_position_embeddings": 64}, "original_max_position_embeddings": 128},
    {"rope_scaling": YARN, "original_max_position_embeddings": 128},
    {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 32}, "original_max_position_embeddings": 128},
    {"rope_scaling": LINEAR, "original_max_position_embeddings": 128},
    {"rope_scaling": {**YARN, "attention_factor": 1.5}}, {"rope_scaling": {**YARN, "beta_fast": 4, "beta_slow": 2}},
    {"rope_scaling": {**YARN, "truncate": False, "original_max_position_embeddings": 64}},
    {"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}}, {"rope_scaling": {**YARN, "mscale": 2.0}},
    {"partial_rotary_factor": 0.5}, {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
    {"hidden_act": "swish"}, {"hidden_act": "gelu"}, {"hidden_act": "relu"}, {"rms_norm_eps": 1e-2}, {"rms_norm_eps": ...},
    {"rms_norm_eps": None}, {"num_key_value_heads": None}, {"num_key_value_heads": ...}, {"head_dim": ...}, {"head_dim": None},
    {"num_attention_heads": None}, {"hidden_size": None}, {"max_position_embeddings": ...}, {"vocab_size": VOCABULARY + 1},
    {"tie_word_embeddings": False}, {"tie_word_embeddings": ...}, {"attention_bias": True}, {"attention_bias": False},
    {"mlp_bias": True}, {"is_causal": False}, {"is_causal": True}, {"per_layer_config": {"0": {"rms_norm_eps": 0.1}}},
    {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0},
    {"use_sliding_window": True, "sliding_window": 16}, {"sliding_window": 16}, {"sliding_window": None}, {"sliding_window": ...},
    {"use_sliding_window": True, "sliding_window": 16, "layer_types": ["full_attention", "sliding_attention"]},
    {"use_sliding_window": True, "sliding_window": 16, "layer_types": ["full_attention", "full_attention"]},
    {"layer_types": ["full_attention", "sliding_attention"]}, {"layer_types": ["full_attention"]},
    {"use_cache": False}, {"torch_dtype": "bfloat16"}, {"initializer_range": 0.5}, {"attention_dropout": 0.5},
    {"pretraining_tp": 2}, {"auto_map": {"AutoModel": "x.Y"}}, {"_name_or_path": "x"}, {"unheard_of": 7},
    {"norm_topk_prob": False}, {"norm_topk_prob": ...}, {"decoder_sparse_step": 2}, {"mlp_only_layers": [0]},
    {"mlp_only_layers": None}, {"num_experts_per_tok": 1}, {"num_local_experts": EXPERTS, "num_experts": ...},
]


def config(kind):
    base = dict(model_type=kind, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, intermediate_size=FEED_FORWARD, vocab_size=VOCABULARY,
                max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=True, hidden_act="silu")
    if kind == "mistral":
        base["sliding_window"] = None
    if kind == "qwen3_moe":
        base.update(num_experts=EXPERTS, num_experts_per_tok=2, moe_intermediate_size=FEED_FORWARD, norm_topk_prob=True)
    return base


def weights(kind, seed=5):
    rng = np.random.default_rng(seed)
    tensors = {"model.embed_tokens.weight": rng.normal(0, 0.6, (VOCABULARY, HIDDEN)),
               "model.norm.weight": 1 + rng.normal(0, 0.1, HIDDEN)}
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        tensors[p + "input_layernorm.weight"] = 1 + rng.normal(0, 0.1, HIDDEN)
        tensors[p + "post_attention_layernorm.weight"] = 1 + rng.normal(0, 0.1, HIDDEN)
        for part, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            tensors[p + f"self_attn.{part}_proj.weight"] = rng.normal(0, 0.15, (heads * HEAD_DIM, HIDDEN))
            if kind == "qwen2":
                tensors[p + f"self_attn.{part}_proj.bias"] = rng.normal(0, 0.3, heads * HEAD_DIM)
        tensors[p + "self_attn.o_proj.weight"] = rng.normal(0, 0.15, (HIDDEN, HEADS * HEAD_DIM))
        if kind.startswith("qwen3"):
            tensors[p + "self_attn.q_norm.weight"] = 1 + rng.normal(0, 0.1, HEAD_DIM)
            tensors[p + "self_attn.k_norm.weight"] = 1 + rng.normal(0, 0.1, HEAD_DIM)
        if kind == "qwen3_moe":
            tensors[p + "mlp.gate.weight"] = rng.normal(0, 0.3, (EXPERTS, HIDDEN))
        for prefix in [f"mlp.experts.{e}." for e in range(EXPERTS)] if kind == "qwen3_moe" else ["mlp."]:
            for part, shape in (("gate", (FEED_FORWARD, HIDDEN)), ("up", (FEED_FORWARD, HIDDEN)), ("down", (HIDDEN, FEED_FORWARD))):
                tensors[p + f"{prefix}{part}_proj.weight"] = rng.normal(0, 0.15, shape)
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def write(folder, fields, tensors):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(fields))
    words = {f"t{i}": i for i in range(VOCABULARY)}
    (folder / "tokenizer.json").write_text(json.dumps(
        {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
         "post_processor": None, "decoder": {"type": "ByteLevel"},
         "model": {"type": "BPE", "vocab": words, "merges": []}}))
    head, blob = {}, b""
    for name, value in tensors.items():
        raw = value.tobytes()
        head[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(blob), len(blob) + len(raw)]}
        blob += raw
    raw = json.dumps(head).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + blob)
    return folder


def folders(root):
    """Yields name, path, model type, the fields."""
    for kind in TYPES:
        tensors = weights(kind)
        for i, change in enumerate(CHANGES):
            fields = {k: v for k, v in {**config(kind), **change}.items() if v is not ...}
            name = f"{kind}: " + json.dumps({k: "(missing)" if v is ... else v for k, v in change.items()})
            yield name, write(root / f"{kind}-{i}", fields, tensors), kind, fields


# --- the truth ---

def rope(c, head_dim):
    """Frequencies and the factor of cos and sin, as modeling_rope_utils computes them."""
    c.standardize_rope_params()  # as transformers does when the model is built
    p = c.rope_parameters
    base, kind = p["rope_theta"], p["rope_type"]
    if p.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError("part of a head cannot be rotated in these models")
    frequency = 1.0 / base ** (np.arange(0, head_dim, 2) / head_dim)
    if kind == "default":
        return frequency, 1.0
    factor = p["factor"]
    if kind == "linear":
        return frequency / factor, 1.0
    original = p["original_max_position_embeddings"]
    if kind == "llama3":
        low, high = p["low_freq_factor"], p["high_freq_factor"]
        wavelength = 2 * math.pi / frequency
        smooth = (original / wavelength - low) / (high - low)
        middle = (1 - smooth) * frequency / factor + smooth * frequency
        return np.where(wavelength > original / low, frequency / factor, np.where(wavelength < original / high, frequency, middle)), 1.0
    if kind != "yarn":
        raise ValueError(f"no rope of type {kind} here")
    factor = c.max_position_embeddings / original if factor is None else factor

    def scale(m=1.0):
        return 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1.0

    attention, mscale, all_dim = p.get("attention_factor"), p.get("mscale"), p.get("mscale_all_dim")
    if attention is None:
        attention = scale(mscale) / scale(all_dim) if mscale and all_dim else scale()

    def dimension(rotations):
        return head_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = dimension(p.get("beta_fast") or 32), dimension(p.get("beta_slow") or 1)
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    kept = 1 - np.clip((np.arange(head_dim // 2) - low) / (high - low + (0.001 if low == high else 0)), 0, 1)
    return frequency / factor * (1 - kept) + frequency * kept, attention


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def experts(c, t, p, x):
    scores = x @ t[p + "mlp.gate.weight"].T
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    out = np.zeros_like(x)
    for row in range(len(x)):
        chosen = np.argsort(-scores[row])[:c.num_experts_per_tok]
        share = scores[row, chosen] / (scores[row, chosen].sum() if c.norm_topk_prob else 1)
        for e, w in zip(chosen, share):
            q = p + f"mlp.experts.{e}."
            out[row] += w * ((silu(x[row] @ t[q + "gate_proj.weight"].T) * (x[row] @ t[q + "up_proj.weight"].T)) @ t[q + "down_proj.weight"].T)
    return out


def windows(c, kind):
    """The sliding window of each layer; None: none."""
    window = getattr(c, "sliding_window", None) if kind != "llama" else None
    if kind in ("qwen2", "qwen3"):
        if "sliding_attention" in c.layer_types and window is None:
            raise ValueError("sliding layers without a window")
        return [window if t == "sliding_attention" else None for t in c.layer_types]
    return [window] * c.num_hidden_layers


def forward(c, kind, tensors, tokens):
    """Logits, [tokens, vocabulary]."""
    t = {k: v.astype(np.float64) for k, v in tensors.items()}
    own = {"llama": ("attention_bias", "mlp_bias"), "qwen3": ("attention_bias",), "qwen3_moe": ("attention_bias",)}
    unsupported = [f for f in own.get(kind, ()) if getattr(c, f)]
    if unsupported or not c.tie_word_embeddings:
        raise ValueError(f"transformers would invent weights: {unsupported or 'lm_head'}")
    if c.hidden_act not in ("silu", "swish") or not getattr(c, "is_causal", True) or c.is_heterogeneous:
        raise ValueError("not in this forward pass")
    if kind == "qwen3_moe" and (c.decoder_sparse_step != 1 or c.mlp_only_layers):
        raise ValueError("dense layers have no weights here")
    head_dim = getattr(c, "head_dim", c.hidden_size // c.num_attention_heads)
    frequency, magnitude = rope(c, head_dim)
    angle = np.arange(len(tokens))[:, None] * np.concatenate([frequency, frequency])
    cos, sin = np.cos(angle) * magnitude, np.sin(angle) * magnitude
    if t["model.embed_tokens.weight"].shape[0] != c.vocab_size:
        raise ValueError("size mismatch of the embedding")

    def turn(x):
        half = head_dim // 2
        return x * cos[:, None] + np.concatenate([-x[..., half:], x[..., :half]], -1) * sin[:, None]

    x, distance = t["model.embed_tokens.weight"][tokens], np.arange(len(tokens))[:, None] - np.arange(len(tokens))
    for i, window in enumerate(windows(c, kind)):
        p = f"model.layers.{i}."
        h = norm(x, t[p + "input_layernorm.weight"], c.rms_norm_eps)
        q, k, v = (h @ t[p + f"self_attn.{n}_proj.weight"].T + t.get(p + f"self_attn.{n}_proj.bias", 0) for n in "qkv")
        q, k, v = (y.reshape(len(tokens), n, head_dim) for y, n in ((q, c.num_attention_heads), (k, c.num_key_value_heads), (v, c.num_key_value_heads)))
        if kind.startswith("qwen3"):
            q, k = norm(q, t[p + "self_attn.q_norm.weight"], c.rms_norm_eps), norm(k, t[p + "self_attn.k_norm.weight"], c.rms_norm_eps)
        q, k = turn(q), turn(k)
        group = c.num_attention_heads // c.num_key_value_heads
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(head_dim)
        scores[:, (distance < 0) | (distance >= (window or len(tokens)))] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v).reshape(len(tokens), -1)
        x = x + mixed @ t[p + "self_attn.o_proj.weight"].T
        h = norm(x, t[p + "post_attention_layernorm.weight"], c.rms_norm_eps)
        if kind == "qwen3_moe":
            x = x + experts(c, t, p, h)
        else:
            x = x + (silu(h @ t[p + "mlp.gate_proj.weight"].T) * (h @ t[p + "mlp.up_proj.weight"].T)) @ t[p + "mlp.down_proj.weight"].T
    out = norm(x, t["model.norm.weight"], c.rms_norm_eps) @ t["model.embed_tokens.weight"].T
    return out


def truth(kind, fields):
    """{"logprobs": …} after the prompt, or {"rejects": why}."""
    from transformers import AutoConfig
    try:
        c = AutoConfig.for_model(**json.loads(json.dumps(fields)))
        tokens = [(7 * i + 3) % VOCABULARY for i in range(TOKENS)]
        last = forward(c, kind, weights(kind), tokens)[-1]
        return {"logprobs": (last - last.max() - math.log(np.exp(last - last.max()).sum())).tolist()}
    except Exception as why:  # whatever transformers raises
        return {"rejects": f"{type(why).__name__}: {why}"[:200]}


def stored(folder):
    """The tensors of a folder of F16, BF16 or F32."""
    tensors = {}
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:8 + size]).items():
            if name == "__metadata__":
                continue
            data = raw[8 + size:][slice(*entry["data_offsets"])]
            if entry["dtype"] == "BF16":
                value = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                value = np.frombuffer(data, {"F16": np.float16, "F32": np.float32}[entry["dtype"]])
            tensors[name] = value.astype(np.float32).reshape(entry["shape"])
    return tensors


def held_to_goldens(root):
    """By case: the largest difference of this forward pass from transformers' logits, for tied models."""
    from transformers import AutoConfig
    tokens, out = np.fromfile(root / "tokens.i32", np.int32), {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        fields = json.loads((folder / "config.json").read_text())
        if not fields["tie_word_embeddings"]:
            continue
        mine = forward(AutoConfig.for_model(**fields), fields["model_type"], stored(folder), tokens)
        golden = np.fromfile(root / f"{folder.name}.logits.f32", np.float32).reshape(mine.shape)
        out[folder.name] = float(np.abs(mine - golden).max())
    return out
