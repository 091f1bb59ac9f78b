#!/usr/bin/env python3
"""shorten.py IN.gguf OUT.gguf LAYERS: writes the same model with its first layers only.

Its answers make no sense, but it has every format, shape and kernel of the whole model and its tokenizer, and the
reference kernels can compute it in a minute.
"""
import sys

import gguf


def copy_field(writer, field, layers):
    if field.name.startswith("GGUF.") or field.name == "general.architecture":
        return
    value = layers if field.name.endswith(".block_count") else field.contents()
    sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, value, field.types[0], sub_type=sub)


def main():
    source, target, layers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        copy_field(writer, field, layers)
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        if parts[0] == "blk" and int(parts[1]) >= layers:
            continue
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
