"""What a cloud on the ggml runner does with one model: each function returns a row's fields."""
import asyncio
import time

from bench.lib import sse

PROMPTS = [f"Tell me {word} about {thing}." for word in ("more", "less") for thing in ("rivers", "stones", "ships", "birds")]
TOKENS = 48
NEAR_TIE = 0.02  # how far apart two tokens' log-probabilities may be where batched and single runs may choose differently


def chat(model, content, **fields):
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, "temperature": 0,
            "ignore_eos": True, "logprobs": True, "top_logprobs": 2, **fields}


def ask(cloud, body):
    return sse.call(cloud.port, "/v1/chat/completions", body=body, key=cloud.key(), timeout=300)


def steps(answer):
    """Of each token: its text, and how far it was ahead of the next one."""
    rows = []
    for token in answer.json()["choices"][0]["logprobs"]["content"]:
        best = sorted((top["logprob"] for top in token["top_logprobs"]), reverse=True)
        rows.append(((token["token"], tuple(token["bytes"] or ())), best[0] - best[-1] if len(best) > 1 else 0.0))
    return rows


def tokens(rows):
    return [token for token, _ in rows]


def memory_of_a_token(cloud):
    """Bytes of keys and values that the engine allocated for each token of context."""
    model = sse.call(cloud.port, "/v1/live", key=cloud.operator_key()).json()["engines"][0]["models"][0]
    return model["kv_bytes"] / (8 * model["context"])


def same(one, other):
    """Whether two runs are equal up to the first near tie."""
    for (token, gap), (other_token, other_gap) in zip(one, other):
        if token != other_token:
            return min(gap, other_gap) < NEAR_TIE
    return len(one) == len(other)


def first_tokens(cloud, model, prompt):
    """The log-probabilities that the first token of an answer could have: text → number."""
    answer = sse.call(cloud.port, "/v1/completions", key=cloud.key(), timeout=300, body={
        "model": model, "prompt": prompt, "max_tokens": 1, "temperature": 1, "logprobs": 20, "ignore_eos": True})
    if answer.status != 200:
        return {"error": answer.error()}
    return {"top": answer.json()["choices"][0]["logprobs"]["top_logprobs"][0]}


def one_answer(cloud, model):
    answer = ask(cloud, chat(model, PROMPTS[0]))
    if answer.status != 200:
        return {"held": False, "why": answer.error()}
    usage = answer.json()["usage"]
    record = cloud.request(answer.request_id).json()["usage"]
    return {"held": usage["completion_tokens"] == TOKENS == len(steps(answer)) and usage["prompt_tokens"] > 10
            and record["completion_tokens"] == TOKENS and record["prompt_tokens"] == usage["prompt_tokens"],
            "usage": usage}


def stream_equals_whole(cloud, model):
    whole, stream = ask(cloud, chat(model, PROMPTS[1])), ask(cloud, chat(model, PROMPTS[1], stream=True))
    return {"held": whole.status == 200 and stream.done and stream.text() == whole.text()}


def together(cloud, bodies):
    async def all_of_them():
        return await asyncio.gather(*(sse.ask(cloud.port, "/v1/chat/completions", body, cloud.key(), timeout=300)
                                      for body in bodies))
    cloud.key()
    return asyncio.run(all_of_them())


def batch_equals_alone(cloud, model):
    bodies = [chat(model, prompt) for prompt in PROMPTS]
    alone, batched = [ask(cloud, body) for body in bodies], together(cloud, bodies)
    if any(answer.status != 200 for answer in (*alone, *batched)):
        return {"held": False, "why": next(a.error() for a in (*alone, *batched) if a.status != 200)}
    pairs = [(steps(a), steps(b)) for a, b in zip(alone, batched)]
    return {"held": all(same(a, b) for a, b in pairs), "equal": sum(tokens(a) == tokens(b) for a, b in pairs), "of": len(pairs)}


def cancel_stops(cloud, model):
    """A client that leaves in the middle of a stream: its sequence ends, and it is billed no more than it got."""
    async def leave():
        first = asyncio.Event()
        task = asyncio.create_task(sse.ask(cloud.port, "/v1/chat/completions", chat(model, PROMPTS[2], max_tokens=190, stream=True),
                                           cloud.key(), on_event=lambda _: first.set()))
        await asyncio.wait_for(first.wait(), 60)
        task.cancel()
    asyncio.run(leave())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        live = sse.call(cloud.port, "/v1/live", key=cloud.operator_key()).json()
        if live["pool"]["running"] == 0:
            return {"held": ask(cloud, chat(model, PROMPTS[3], max_tokens=2)).status == 200}
        time.sleep(0.05)
    return {"held": False, "why": "its sequence still runs after 20 s"}


def paused_equals_alone(cloud, model, alone):
    """Eight answers that need more memory than there is: some are paused, and all equal those that ran alone."""
    answers = together(cloud, [chat(model, prompt, max_tokens=len(rows)) for prompt, rows in zip(PROMPTS, alone)])
    pauses = sum(e["preemptions"] for e in sse.call(cloud.port, "/v1/live", key=cloud.operator_key()).json()["engines"])
    if any(answer.status != 200 for answer in answers):
        return {"held": False, "pauses": pauses, "why": next(a.error() for a in answers if a.status != 200)}
    pairs = [(rows, steps(answer)) for rows, answer in zip(alone, answers)]
    return {"held": all(same(a, b) for a, b in pairs), "equal": sum(tokens(a) == tokens(b) for a, b in pairs), "of": len(pairs), "pauses": pauses}
