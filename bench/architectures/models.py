"""Tiny random models of many architectures, made by llama.cpp's own test program, with a vocabulary and a template."""
import os
import pathlib
import subprocess
import sys

from bench.files.models import ARRAY, CONTROL, I32, NORMAL, STRING, U32, Gguf, byte_characters
from bench.lib import peer

# By llama.cpp's name, and the kind that its program makes ("dense" or "moe"); then tensors that the program does not make
# unasked, although the architecture's published models have them.
BIASES = "attn_q.bias,attn_k.bias,attn_v.bias"
DELTA = "attn_qkv.weight,attn_gate.weight"
ARCHITECTURES = {
    "llama": ("dense", ""), "llama4": ("moe", ""), "mistral3": ("dense", ""), "mistral4": ("moe", ""),
    "qwen2": ("dense", BIASES), "qwen2moe": ("moe", BIASES), "qwen3": ("dense", ""), "qwen3moe": ("moe", ""),
    "qwen3next": ("moe", DELTA), "qwen35": ("dense", DELTA), "qwen35moe": ("moe", DELTA),
    "deepseek": ("moe", ""), "deepseek2": ("moe", ""), "deepseek32": ("moe", ""),
    "gemma": ("dense", ""), "gemma2": ("dense", ""), "gemma3": ("dense", ""),
    "gpt-oss": ("moe", ""), "glm4": ("dense", ""), "glm4moe": ("moe", ""),
    "granite": ("dense", ""), "granitemoe": ("moe", ""), "granitehybrid": ("dense", "ssm_conv1d.bias"),
    "phi2": ("dense", ""), "phi3": ("dense", "attn_q.weight,attn_k.weight,attn_v.weight"), "phimoe": ("moe", ""),
    "minicpm": ("dense", ""), "minicpm3": ("dense", ""), "smollm3": ("dense", ""), "falcon": ("dense", ""),
    "falcon-h1": ("dense", "ssm_conv1d.bias"), "lfm2": ("dense", ""), "lfm2moe": ("moe", ""), "olmo2": ("dense", ""),
    "olmoe": ("moe", ""), "exaone4": ("dense", ""), "command-r": ("dense", ""), "cohere2": ("dense", ""),
    "internlm2": ("dense", ""), "starcoder2": ("dense", ""), "stablelm": ("dense", ""), "hunyuan-dense": ("dense", ""),
    "hunyuan-moe": ("moe", ""), "ernie4_5": ("moe", ""), "seed_oss": ("dense", ""), "minimax-m2": ("moe", ""),
    "bailingmoe2": ("moe", ""), "kimi-linear": ("moe", ""), "nemotron": ("dense", ""), "mamba2": ("dense", ""),
    "jamba": ("dense", ""), "gpt2": ("dense", ""), "mpt": ("dense", ""), "bloom": ("dense", ""),
}
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
VOCABULARY = 128  # what the program gives every model of the table


def maker(out):
    """Builds llama.cpp's test program with the downloaded library."""
    folder, program = peer.folder(), out / "make_models"
    source = folder / "src"
    includes = [f"-I{source / part}" for part in ("include", "common", "ggml/include", "src", "vendor")]
    libraries = [folder / "lib" / f"lib{name}.so" for name in ("llama", "llama-common", "ggml", "ggml-base")]
    subprocess.run(["clang++-19", "-std=c++17", "-O1", "-w", *includes, source / "tests/test-llama-archs.cpp",
                    pathlib.Path(__file__).with_name("from_user.cc"), "-o", program, *libraries, "-rdynamic",
                    f"-Wl,-rpath,{folder / 'lib'}"], check=True)
    return program


def make(program, name, folder):
    """The path of a model of this architecture, or why there is none."""
    kind, optional = ARCHITECTURES[name]
    done = subprocess.run([program, "-o", folder, "-s", "7", "-a", f"^{name}$"], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PENSTOCK_BACKENDS": str(peer.folder() / "lib"), "PENSTOCK_OPTIONAL": optional})
    made = folder / f"{name}-{kind}.gguf"
    if not made.exists():
        return None, f"llama.cpp's program made none (status {done.returncode}): {done.stderr.strip()[-120:]}"
    return with_vocabulary(made, folder / f"{name}.gguf"), None


def vocabulary():
    """Every printable character of ASCII and the line break; three control tokens; the rest are words."""
    letters = [byte_characters()[b] for b in (*range(32, 127), 10)]
    words = [f"Ġw{i}" for i in range(VOCABULARY - len(letters) - len(SPECIALS) - 1)]
    tokens = letters + ["he"] + words + SPECIALS
    return tokens, [NORMAL] * (len(tokens) - len(SPECIALS)) + [CONTROL] * len(SPECIALS)


def with_vocabulary(source, target):
    """The same model with our vocabulary in place of the program's, which no text can be written in."""
    sys.path.insert(0, str(peer.folder() / "src/gguf-py"))
    from gguf import GGUFReader  # noqa: PLC0415
    g, reader = Gguf(), GGUFReader(source)
    for name, field in reader.fields.items():
        if name.startswith(("GGUF.", "tokenizer.")):
            continue
        kinds = [kind.value for kind in field.types]
        if kinds != [ARRAY]:  # an empty array
            g.keys[name] = (kinds[-1], field.contents())
    tokens, types = vocabulary()
    ids = {token: i for i, token in enumerate(tokens)}
    g.set("tokenizer.ggml.model", STRING, "gpt2").set("tokenizer.ggml.pre", STRING, "gpt-2")
    g.set("tokenizer.ggml.tokens", STRING, tokens).set("tokenizer.ggml.token_type", I32, types)
    g.set("tokenizer.ggml.merges", STRING, ["h e"]).set("tokenizer.chat_template", STRING, TEMPLATE)
    g.set("tokenizer.ggml.bos_token_id", U32, ids["<|endoftext|>"]).set("tokenizer.ggml.eos_token_id", U32, ids["<|im_end|>"])
    for tensor in reader.tensors:
        if int(tensor.tensor_type) == 0:
            g.tensors[tensor.name] = ([int(d) for d in tensor.shape], tensor.data.tobytes())
    return g.write(target)
