"""Generated conversations, the same on every machine: system, user, assistant and tool turns, tools and
their calls, reasoning, unusual text, missing content."""
import random

import lines

NAMES = ["get_weather", "search", "items", "run_sql", "größe_ändern", "查询"]
KEYS = ["city", "items", "keys", "get", "values", "query", "größe", "limit", "a b", "type", "数量"]


def text(rng):
    """One or several lines of lines.py, with white space around them as users leave it."""
    kinds = [k for k in lines.KINDS if k != "bad bytes"]
    parts = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        line = lines.line_of(rng, rng.choice(kinds))
        parts.append(line)
    body = rng.choice(["\n", " ", "\n\n", ""]).join(parts)
    return rng.choice(["", "", "", " ", "\n", "\u00a0", "\x1c"]) + body + rng.choice(["", "", "", "  ", "\n", "\t\n"])


def value(rng, depth=0):
    """Any JSON value."""
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind > 6:
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randint(0, 3))}
    return [lambda: rng.randint(-10**12, 10**12), lambda: rng.choice([True, False]), lambda: None, lambda: text(rng),
            lambda: rng.choice([0.1, 1.0, -2.5e-7, 1e16, 3.14159, 1e-5, 123456789.125, 1e22, -0.0, 5e-324]),
            lambda: rng.choice(["", "<b>&'\"</b>", "\\n", "日本", "\x00\x1f\x7f", "\u2028", "😀"])][kind]()


def tool(rng):
    properties = {rng.choice(KEYS): {"type": rng.choice(["string", "integer", "array", ["string", "null"]]),
                                     "description": text(rng), **({"enum": [value(rng, 2)]} if rng.random() < 0.3 else {})}
                  for _ in range(rng.randint(0, 3))}
    function = {"name": rng.choice(NAMES), "description": text(rng),
                "parameters": {"type": "object", "properties": properties, "required": list(properties)[:1]}}
    return {"type": "function", "function": function}


def tool_call(rng):
    arguments = {rng.choice(KEYS): value(rng) for _ in range(rng.randint(0, 3))}
    function = {"name": rng.choice(NAMES), "arguments": arguments if rng.random() < 0.7 else text(rng)}
    call = {"id": f"call_{rng.randint(0, 999)}", "type": "function", "function": function}
    return call if rng.random() < 0.9 else function


def thought(rng):
    return rng.choice(["", "\n"]) + text(rng) + rng.choice(["", "\n", "\n\n"])


def assistant(rng, calls):
    content = text(rng)
    if rng.random() < 0.2:
        content = f"<think>{thought(rng)}</think>{content}"
    message = {"role": "assistant", "content": content}
    if rng.random() < 0.25:
        message["reasoning_content"] = thought(rng)
    if calls:
        message["tool_calls"] = [tool_call(rng) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.5:
            message["content"] = "" if rng.random() < 0.9 else None  # many templates refuse None
    return message


def conversation(seed):
    """The context of one rendering, as transformers' apply_chat_template passes it to the template."""
    rng = random.Random(7_000_003 * 20261 + seed)
    messages = [{"role": "system", "content": text(rng)}] if rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 5)):
        messages.append({"role": "user", "content": text(rng)})
        while rng.random() < 0.35:
            calls = assistant(rng, True)
            messages.append(calls)
            for call in calls["tool_calls"]:
                content = text(rng) if rng.random() < 0.9 else "<tool_response>1</tool_response>"
                messages.append({"role": "tool", "content": content, "tool_call_id": call.get("id", "")})
        if rng.random() < 0.7:
            messages.append(assistant(rng, False))
    if rng.random() < 0.05:
        messages.append({"role": rng.choice(["developer", "system", "user"]), "content": text(rng)})
    context = {"messages": messages, "add_generation_prompt": rng.random() < 0.7, "documents": None,
               "tools": [tool(rng) for _ in range(rng.randint(1, 4))] if rng.random() < 0.5 else None}
    if rng.random() < 0.4:
        context["enable_thinking"] = rng.random() < 0.5
    return context
