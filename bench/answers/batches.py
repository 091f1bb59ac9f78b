"""Batch equals alone: sixteen greedy requests at once give, bit for bit, the answers that each request gives
alone, on every kernel version of this CPU, with the prefix cache on and off, preempted or not; and all versions agree.

The requests go over HTTP, so they pass the whole program. The bits of an answer are its tokens and their logprobs
as the API prints them (the shortest text that parses to the same float). One row per request.
"""
import asyncio
import hashlib
import json

from bench.lib import cloud, machine, sse
from bench.lib.prompts import words

REQUESTS = 16


class Work:
    """The requests to one model. The reference kernels are hundreds of times slower than the others, so they
    compute a shortened model and only one short request of the whole model."""

    def __init__(self, model, path, shared_words, own_words, tokens, requests=REQUESTS):
        self.model, self.path, self.tokens, self.requests = model, path, tokens, requests
        self.shared_words, self.own_words = shared_words, own_words

    def bodies(self):
        shared = words(self.shared_words, "shared")
        return [{"model": self.model, "max_tokens": self.tokens, "temperature": 0, "logprobs": True, "top_logprobs": 2,
                 "ignore_eos": True,
                 "messages": [{"role": "user", "content": f"{shared} {words(self.own_words + i % 5, i)}".strip()}]}
                for i in range(self.requests)]


# Name, settings, and whether each request runs alone. `pressure_bytes`: fewer pages than sixteen requests need.
def arrangements(pressure_bytes):
    return [("alone", {"engine.prefix_cache": "false"}, True),
            ("together", {"engine.prefix_cache": "false"}, False),
            ("together, cached", {"engine.prefix_cache": "true"}, False),
            ("together, cached, preempted", {"engine.prefix_cache": "true", "engine.kv_memory": pressure_bytes}, False),
            ("together, preempted", {"engine.prefix_cache": "false", "engine.kv_memory": pressure_bytes}, False)]


def bits(answer):
    if answer.status != 200:
        return None
    content = answer.json()["choices"][0]["logprobs"]["content"]
    text = json.dumps([[t["token"], t["bytes"], t["logprob"], [[r["token"], r["logprob"]] for r in t["top_logprobs"]]]
                       for t in content])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


async def together(port, key, bodies):
    return await asyncio.gather(*(sse.ask(port, "/v1/chat/completions", body, key, timeout=900) for body in bodies))


async def alone(port, key, bodies):
    return [await sse.ask(port, "/v1/chat/completions", body, key, timeout=900) for body in bodies]


def measure_one(rows, isa, work, name, settings, one_by_one, passes):
    with cloud.Cloud({work.model: work.path}, settings, env={"PENSTOCK_ISA": isa}) as ours:
        engine = ours.engine()
        kernel = next((m["kernel"] for m in engine["models"]), engine["kernel"])
        for turn in range(passes):
            answers = asyncio.run((alone if one_by_one else together)(ours.port, ours.key(), work.bodies()))
            preemptions = ours.engine()["preemptions"]
            for index, answer in enumerate(answers):
                usage = answer.json()["usage"] if answer.status == 200 else {}
                rows.add(part="batch", model=work.model, isa=isa, kernel=kernel, runner=engine["runner"], arrangement=name,
                         turn=turn, index=index, status=answer.status, error=answer.error(), bits=bits(answer),
                         tokens=usage.get("completion_tokens"),
                         cached=usage.get("prompt_tokens_details", {}).get("cached_tokens"), preemptions=preemptions)


def supported_isas():
    flags = set(open("/proc/cpuinfo").read().split("flags", 1)[1].split("\n", 1)[0].split())
    isas = ["reference"]
    if {"avx2", "fma", "f16c"} <= flags:
        isas.append("avx2")
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= flags:
        isas.append("avx512")
    return isas


def page_bytes(work):
    with cloud.Cloud({work.model: work.path}) as ours:
        return ours.engine()["models"][0]["page_bytes"]


def measure(rows, whole, short, say):
    """whole, short: (name, path) of a bench model and of its shortened form."""
    isas = supported_isas()
    rows.add(part="batch plan", isas=isas, cpu=machine.cpu_kind(), models=[whole[0], short[0]], requests=REQUESTS)
    plans = [(isa, Work(*short, 0, 9, 24)) for isa in isas]
    plans += [(isa, Work(*whole, 40, 10, 60)) for isa in isas if isa != "reference"]
    pages = {}
    for isa, work in plans:
        if work.model not in pages:
            pages[work.model] = page_bytes(work)
        # The longest request must fit alone; the requests that are admitted together must exceed the memory by
        # more than the page that the planner keeps free for each of them.
        room = 7 if work.shared_words == 0 else 24
        for name, settings, one_by_one in arrangements(room * pages[work.model]):
            say(f"batch equals alone: {work.model}, {isa}, {name}")
            passes = 2 if "cached" in name and isa != "reference" else 1
            measure_one(rows, isa, work, name, settings, one_by_one, passes)
    for isa in isas:
        say(f"versions agree: one request of {whole[0]}, {isa}")
        measure_one(rows, isa, Work(*whole, 0, 2, 2, requests=1), "one short request", {}, True, 1)
