"""The cases of the files bench: names → a GGUF, or the paths of its parts."""
from bench.files.models import (ARRAY, BOOL, CONTROL, F32, HEAD_DIM, HEADS, I32, KV_HEADS, LAYERS, MERGES, NORMAL, SPECIALS,  # noqa: F401
                                STRING, U16, U32, USER_DEFINED, tiny)

ARCHITECTURES = ("llama", "qwen2", "qwen3", "qwen3moe")

# Keys under the prefix: suffix → (type, values). Each value is a case for each architecture.
KEYS = {
    "attention.causal": (BOOL, [True, False]),
    "attention.head_count": (U32, [[HEADS] * LAYERS, [HEADS, 2 * HEADS], [HEADS]]),
    "attention.head_count_kv": (U32, [[KV_HEADS] * LAYERS, [KV_HEADS, HEADS]]),
    "attention.layer_norm_rms_epsilon": (F32, [1e-2]),
    "attention.layer_norm_epsilon": (F32, [1e-2]),
    "attention.sliding_window": (U32, [0, 8, 64]),
    "attention.scale": (F32, [0.0, 0.5]),
    "attention.clamp_kqv": (F32, [0.0, 0.5]),
    "attention.max_alibi_bias": (F32, [0.0, 8.0]),
    "attention.key_length": (U32, [2 * HEAD_DIM]),
    "attention.unheard_of": (F32, [1.0]),
    "attn_logit_softcapping": (F32, [0.0, 5.0]),
    "final_logit_softcapping": (F32, [0.0, 5.0]),
    "logit_scale": (F32, [1.0, 0.5]),
    "residual_scale": (F32, [1.0, 0.5]),
    "embedding_scale": (F32, [1.0, 4.0]),
    "use_parallel_residual": (BOOL, [False, True]),
    "pooling_type": (U32, [0, 1, 3]),
    "nextn_predict_layers": (U32, [0, 1]),
    "leading_dense_block_count": (U32, [0, 1]),
    "expert_shared_count": (U32, [0, 1]),
    "expert_weights_norm": (BOOL, [True, False]),
    "expert_weights_scale": (F32, [1.0, 2.5]),
    "expert_gating_func": (U32, [1, 2]),
    "feed_forward_length": (U32, [[128] * LAYERS, [128, 64]]),
    "rope.dimension_count": (U32, [HEAD_DIM, HEAD_DIM // 2]),
    "rope.freq_base": (F32, [500000.0]),
    "rope.freq_base_swa": (F32, [500.0]),
    "rope.scale_linear": (F32, [0.0, 4.0]),
    "rope.scaling.factor": (F32, [0.0, 1.0, 4.0]),
    "rope.scaling.attn_factor": (F32, [1.0, 1.5]),
    "rope.scaling.alpha": (F32, [0.0, 1000.0]),
    "rope.scaling.finetuned": (BOOL, [True, False]),
    "rope.scaling.original_context_length": (U32, [128]),
    "rope.scaling.yarn_beta_fast": (F32, [32.0, 4.0]),
    "rope.scaling.yarn_beta_slow": (F32, [1.0, 3.0]),
    "rope.scaling.yarn_ext_factor": (F32, [1.0, 0.5]),
    "rope.scaling.yarn_attn_factor": (F32, [1.0, 2.0]),
    "rope.scaling.yarn_log_multiplier": (F32, [0.0, 0.1]),
    "vocab_size": (U32, [7, len(MERGES) + len(SPECIALS) + 256]),
    "tensor_data_layout": (STRING, ["Meta AI original pth"]),
}

SCALED = [{"rope.scaling.type": (STRING, kind), "rope.scaling.factor": (F32, 4.0), **more}
          for kind in ("none", "linear", "yarn", "longrope")
          for more in ({}, {"rope.scaling.original_context_length": (U32, 64)}, {"rope.scaling.attn_factor": (F32, 1.5)},
                       {"rope.scaling.yarn_beta_fast": (F32, 4.0)}, {"rope.scaling.yarn_log_multiplier": (F32, 0.1)})]

# Keys of the vocabulary, for llama alone: name → (type, values).
VOCABULARY = {
    "bos_token_id": (U32, [0, 5, 2 ** 32 - 1, 9999]),
    "eos_token_id": (U32, [0, 5, 2 ** 32 - 1, 9999]),
    "eot_token_id": (U32, [5, 9999]),
    "eom_token_id": (U32, [5, 9999]),
    "fim_pad_token_id": (U32, [5]),
    "add_bos_token": (BOOL, [True, False]),
    "add_eos_token": (BOOL, [True, False]),
}
PRE = ("default", "llama-bpe", "llama3", "tekken", "qwen2", "gpt-2", "smollm", "gpt-4o", "deepseek-llm", "falcon3", "chameleon")


def files(folder):
    """Yields name, the path that is imported."""
    for arch in ARCHITECTURES:
        yield f"{arch}", tiny(arch).write(folder / f"{arch}.gguf")
        for suffix, (kind, values) in KEYS.items():
            for i, value in enumerate(values):
                name = f"{arch}.{suffix}={value}"
                yield name, tiny(arch).set(f"{arch}.{suffix}", kind, value).write(folder / f"{arch}-{suffix}-{i}.gguf")
        for i, keys in enumerate(SCALED):
            g = tiny(arch)
            for suffix, (kind, value) in keys.items():
                g.set(f"{arch}.{suffix}", kind, value)
            yield f"{arch}: {keys}", g.write(folder / f"{arch}-scaled-{i}.gguf")
        for part in range(3):
            yield f"{arch}, part {part + 1} of 3", tiny(arch).write_parts(folder / f"{arch}-parts", "m", 3)[part]
    for model in ("gpt2", "llama"):
        for suffix, (kind, values) in VOCABULARY.items():
            for i, value in enumerate(values):
                g = tiny(model=model).set(f"tokenizer.ggml.{suffix}", kind, value)
                yield f"{model}: {suffix}={value}", g.write(folder / f"{model}-{suffix}-{i}.gguf")
        g = tiny(model=model)
        for key in ("bos_token_id", "eos_token_id"):
            del g.keys[f"tokenizer.ggml.{key}"]
        yield f"{model}: no ids", g.write(folder / f"{model}-no-ids.gguf")
        for kind in (NORMAL, USER_DEFINED):
            g = tiny(model=model)
            types = g.keys["tokenizer.ggml.token_type"][1]
            g.set("tokenizer.ggml.token_type", I32, [kind if t == CONTROL else t for t in types])
            yield f"{model}: special tokens of type {kind}", g.write(folder / f"{model}-type-{kind}.gguf")
        for drop in SPECIALS:
            g = tiny(model=model)
            tokens = g.keys["tokenizer.ggml.tokens"][1]
            g.set("tokenizer.ggml.tokens", STRING, ["plain" if t == drop else t for t in tokens])
            yield f"{model}: without {drop}", g.write(folder / f"{model}-without-{SPECIALS.index(drop)}.gguf")
    for pre in PRE:
        yield f"pre={pre}", tiny().set("tokenizer.ggml.pre", STRING, pre).write(folder / f"pre-{pre}.gguf")
    for name, value in {"no": None, "empty": []}.items():
        g = tiny()
        del g.keys["tokenizer.ggml.merges"]
        if value is not None:
            g.set("tokenizer.ggml.merges", STRING, value)
        yield f"{name} merges", g.write(folder / f"merges-{name}.gguf")
    g = tiny()
    g.tensors["token_embd.weight"] = ([64, 200], g.tensors["token_embd.weight"][1][:64 * 200 * 4])
    yield "an embedding of 200 rows", g.write(folder / "rows.gguf")
