#!/usr/bin/env python3
"""Generates kernels/testdata/format_goldens.txt: random valid blocks of every weight format and their values
as the `gguf` package dequantises them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install gguf numpy
    /tmp/venv/bin/python tools/make_format_goldens.py > kernels/testdata/format_goldens.txt

One line per format: name, blocks in hex, first four outputs as f32 bits, FNV-1a (64 bits) over all output
bytes (little-endian f32).
"""
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Byte offsets of the f16 fields of a block.
HALVES = {
    T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
    T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0],
}


def blocks_of(kind, rng):
    elements, size = GGML_QUANT_SIZES[kind]
    count = {1: 64, 32: 16, 256: 4}[elements]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in HALVES.get(kind, []):
        bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
        bits = np.where((bits & 0x7C00) == 0x7C00, bits & 0x83FF, bits)  # infinities, NaNs → subnormals
        blocks[:, offset:offset + 2] = bits.astype("<u2").view(np.uint8).reshape(count, 2)
    if kind == T.F32:
        blocks = rng.standard_normal(count).astype("<f4").view(np.uint8).reshape(count, size)
    if kind == T.BF16:
        blocks = (rng.standard_normal(count).astype("<f4").view("<u4") >> 16).astype("<u2")
        blocks = blocks.view(np.uint8).reshape(count, size)
    return blocks


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def main():
    rng = np.random.default_rng(20240607)
    for kind in [T.F32, T.F16, T.BF16, *list(HALVES)[1:]]:
        blocks = blocks_of(kind, rng)
        out = np.ascontiguousarray(dequantize(blocks.reshape(-1), kind).reshape(-1).astype("<f4"))
        first = " ".join(f"{bits:08x}" for bits in out.view("<u4")[:4])
        print(kind.name, blocks.tobytes().hex(), first, f"{fnv1a(out.tobytes()):016x}")


main()
