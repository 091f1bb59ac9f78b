#!/usr/bin/env python3
"""Generates model/testdata/logits: tiny random models of every architecture and rope variant, each as a
Hugging Face folder and as a GGUF file, with the logits that transformers computes in f32.

    python3 -m venv /tmp/goldens && /tmp/goldens/bin/pip install torch transformers gguf safetensors numpy
    /tmp/goldens/bin/python tools/make_logit_goldens.py

Run it once when you add an architecture or a variant; the results are committed (tests do not need torch).
The GGUF files are written independently of our own reader: names, permutation and rope factors as in
llama.cpp's converter.
"""

import json
import math
import os
import shutil
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "model", "testdata", "logits")
LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FF, VOCAB, TOKENS = 2, 32, 4, 2, 16, 64, 96, 48
EXPERTS, EXPERTS_USED, EXPERT_FF = 4, 2, 32

COMMON = dict(hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
              num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, intermediate_size=FF, vocab_size=VOCAB,
              max_position_embeddings=64, rms_norm_eps=1e-6, rope_theta=10000.0, hidden_act="silu")

ARCHITECTURES = {  # name: (model_type, stored as, tied, extra configuration)
    "llama": ("llama", torch.float16, False, {}),
    "qwen2": ("qwen2", torch.bfloat16, True, dict(use_sliding_window=False)),
    "qwen3": ("qwen3", torch.float16, True, dict(use_sliding_window=False)),
    "qwen3moe": ("qwen3_moe", torch.float16, False,
                 dict(num_experts=EXPERTS, num_experts_per_tok=EXPERTS_USED, moe_intermediate_size=EXPERT_FF,
                      norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])),
}

SCALINGS = {
    "": None,
    "linear": dict(rope_type="linear", factor=4.0),
    "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32),
}

CASES = [(arch, scaling) for arch in ARCHITECTURES for scaling in SCALINGS
         if arch in ("llama", "qwen2") or scaling in ("", "yarn")]


def weights(arch, model, dtype):
    """Random weights large enough that attention is far from uniform and logits are far from zero."""
    generator = torch.Generator().manual_seed(sum(map(ord, arch)))
    result = {}
    for name, tensor in sorted(model.state_dict().items()):
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            value = 1 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.5 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            value = 0.6 * noise
        else:
            value = noise * 1.2 / math.sqrt(tensor.shape[-1])
        result[name] = value.to(dtype).contiguous()
    return result


def config_json(arch, scaling):
    model_type, dtype, tied, extra = ARCHITECTURES[arch]
    config = dict(COMMON, model_type=model_type, tie_word_embeddings=tied, torch_dtype=str(dtype)[6:], **extra)
    if SCALINGS[scaling]:
        config["rope_scaling"] = SCALINGS[scaling]
    return config


def build(arch, scaling):
    config = AutoConfig.for_model(**config_json(arch, scaling))
    config._attn_implementation = "eager"
    config.dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    return model


def checkpoint(arch, values):
    """The state as in checkpoints: separate experts (transformers 5 stacks them in memory)."""
    result = {}
    for name, value in values.items():
        if name.endswith("experts.gate_up_proj"):
            for e in range(EXPERTS):
                base = name[:-len("gate_up_proj")] + f"{e}."
                result[base + "gate_proj.weight"] = value[e, :EXPERT_FF].contiguous()
                result[base + "up_proj.weight"] = value[e, EXPERT_FF:].contiguous()
        elif name.endswith("experts.down_proj"):
            for e in range(EXPERTS):
                result[name[:-len("down_proj")] + f"{e}.down_proj.weight"] = value[e].contiguous()
        elif name == "lm_head.weight" and ARCHITECTURES[arch][2]:
            continue
        else:
            result[name] = value
    return result


def save_folder(folder, arch, scaling, tensors):
    os.makedirs(folder)
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config_json(arch, scaling), f, indent=1)
    if scaling:  # the same weights
        os.symlink(f"../{arch}/model.safetensors" if arch != "llama" else "../llama/model-00001-of-00002.safetensors",
                   f"{folder}/" + ("model.safetensors" if arch != "llama" else "model-00001-of-00002.safetensors"))
        if arch == "llama":
            os.symlink("../llama/model-00002-of-00002.safetensors", f"{folder}/model-00002-of-00002.safetensors")
            os.symlink("../llama/model.safetensors.index.json", f"{folder}/model.safetensors.index.json")
        return
    if arch != "llama":
        save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    index = {}
    for i, part in enumerate((names[:len(names) // 2], names[len(names) // 2:])):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({n: tensors[n] for n in part}, f"{folder}/{file}", metadata={"format": "pt"})
        index.update({n: file for n in part})
    with open(f"{folder}/model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {}, "weight_map": index}, f, indent=1)


WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
PARTS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp"}


def permute(x, heads):
    """Rows (i, i + d/2) of each head become (2i, 2i + 1), as llama's rotation in GGUF requires."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def gguf_tensors(arch, tensors):
    stacks = {}
    for name, value in sorted(tensors.items()):
        value = value.float().numpy()
        stem, kind = name.rsplit(".", 1)
        if stem in WHOLE:
            yield f"{WHOLE[stem]}.{kind}", value
            continue
        _, _, layer, part = stem.split(".", 3)
        if part.startswith("mlp.experts."):
            _, _, expert, part = part.split(".")
            stack = stacks.setdefault(f"blk.{layer}.{PARTS['mlp.' + part]}_exps.weight", [None] * EXPERTS)
            stack[int(expert)] = value
            continue
        if arch == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
            value = permute(value, HEADS if "q_proj" in part else KV_HEADS)
        yield f"blk.{layer}.{PARTS[part]}.{kind}", value
    for name, stack in stacks.items():
        yield name, np.stack(stack)


def llama3_factors(scaling, base):
    factors = []
    for i in range(0, HEAD_DIM, 2):
        wavelength = 2 * math.pi * base ** (i / HEAD_DIM)
        context = scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(scaling["factor"])
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def save_gguf(path, arch, scaling, tensors):
    w = gguf.GGUFWriter(path, arch)
    w.add_name(f"tiny {arch}")
    w.add_context_length(COMMON["max_position_embeddings"])
    w.add_embedding_length(HIDDEN)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FF)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD_DIM)
    w.add_value_length(HEAD_DIM)
    w.add_rope_freq_base(COMMON["rope_theta"])
    w.add_layer_norm_rms_eps(COMMON["rms_norm_eps"])
    if arch == "qwen3moe":
        w.add_expert_count(EXPERTS)
        w.add_expert_used_count(EXPERTS_USED)
        w.add_expert_feed_forward_length(EXPERT_FF)
    rope = SCALINGS[scaling]
    if scaling in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(scaling))
        w.add_rope_scaling_factor(rope["factor"])
    if scaling == "yarn":
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if scaling == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(rope, COMMON["rope_theta"]))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list([f"t{i}" for i in range(VOCAB - 2)] + ["<|endoftext|>", "<|im_end|>"])
    w.add_token_types([1] * (VOCAB - 2) + [3, 3])
    w.add_token_merges(["t 0"])
    w.add_eos_token_id(VOCAB - 1)
    for name, value in gguf_tensors(arch, tensors):
        if value.ndim == 1 or "ffn_gate_inp" in name:
            w.add_tensor(name, value.astype(np.float32))
        elif ARCHITECTURES[arch][1] == torch.bfloat16:
            w.add_tensor(name, gguf.quants.quantize(value, gguf.GGMLQuantizationType.BF16),
                         raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            w.add_tensor(name, value.astype(np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    tokens = torch.randint(0, VOCAB, (1, TOKENS), generator=torch.Generator().manual_seed(7))
    np.array(tokens[0].tolist(), dtype=np.int32).tofile(f"{OUT}/tokens.i32")
    for arch, scaling in CASES:
        name = f"{arch}-{scaling}" if scaling else arch
        model = build(arch, scaling)
        values = weights(arch, model, ARCHITECTURES[arch][1])
        if ARCHITECTURES[arch][2]:
            values["lm_head.weight"] = values["model.embed_tokens.weight"]
        model.load_state_dict({k: v.float() for k, v in values.items()})
        with torch.no_grad():
            logits = model(tokens).logits[0].float().numpy()
        tensors = checkpoint(arch, values)
        save_folder(f"{OUT}/{name}", arch, scaling, tensors)
        save_gguf(f"{OUT}/{name}.gguf", arch, scaling, tensors)
        logits.tofile(f"{OUT}/{name}.logits.f32")
        # What is written is what was computed: transformers reads the folder back to the same logits.
        back = AutoModelForCausalLM.from_pretrained(f"{OUT}/{name}", dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            difference = (back(tokens).logits[0].float() - torch.from_numpy(logits)).abs().max().item()
        print(f"{name:16} |logits| up to {np.abs(logits).max():.2f}, read back differs by {difference:.1e}")
        assert difference < 1e-5, name
    return 0


if __name__ == "__main__":
    sys.exit(main())
