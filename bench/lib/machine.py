"""The kind of this machine: figures are compared only between machines of the same kind."""
import os
import re


def cpu_kind():
    """For example "AMD EPYC family 25 model 17, 2 cores, avx512_vnni"."""
    text = open("/proc/cpuinfo").read()

    def field(name):
        found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
        return found.group(1).strip() if found else "?"

    flags = field("flags").split()
    best = next((f for f in ("amx_int8", "avx512_vnni", "avx512f", "avx_vnni", "avx2") if f in flags), "baseline")
    return f"{field('model name')} family {field('cpu family')} model {field('model')}, {os.cpu_count()} cores, {best}"
