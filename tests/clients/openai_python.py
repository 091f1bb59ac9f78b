#!/usr/bin/env python3
"""The official OpenAI client for Python with a cloud: one check for each behaviour."""
import asyncio
import re
import threading
import time

import openai
try:
    import httpx2 as httpx  # the client uses it since version 3
except ImportError:
    import httpx

from checks import (BUSY_KEY, BUSY_URL, KEY, MODEL, URL, admin, check, raw, run_all, record_of)

CALLS = []  # one entry per HTTP request that the client really sent
http = httpx.Client(event_hooks={"request": [lambda request: CALLS.append(request.headers)]}, timeout=120)
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, http_client=http)
once = client.with_options(max_retries=0)
chat = client.chat.completions

COUNT = [{"role": "user", "content": "Count from one to twenty in words."}]
LONG = [{"role": "user", "content": "Tell me a long story about a river, a mill and a miller's daughter."}]


def greedy(messages=None, **options):
    options = {"max_tokens": 24, "temperature": 0, **options}
    return chat.create(model=MODEL, messages=messages or COUNT, **options)


def raises(kind, function):
    try:
        function()
    except kind as error:
        assert type(error) is kind, f"raised {type(error).__name__}, not {kind.__name__}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def joined(chunks, choice=0):
    return "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == choice)


# ---- answers ----------------------------------------------------------------------------------------

@check
def models_are_listed_and_one_can_be_looked_up():
    models = client.models.list().data
    assert MODEL in [m.id for m in models] and all(m.object == "model" and m.created > 0 and m.owned_by for m in models)
    assert client.models.retrieve(MODEL).id == MODEL


@check
def an_answer_has_text_a_reason_to_end_and_usage_that_adds_up():
    answer = greedy()
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == MODEL and answer.id and answer.created > 0
    assert choice.message.role == "assistant" and choice.message.content and choice.index == 0
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0 and 0 < answer.usage.completion_tokens <= 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0


@check
def max_tokens_ends_with_length_and_exactly_that_many():
    answer = greedy(LONG, max_tokens=7)
    assert answer.usage.completion_tokens == 7 and answer.choices[0].finish_reason == "length"
    answer = greedy(LONG, max_tokens=openai.omit, max_completion_tokens=5)
    assert answer.usage.completion_tokens == 5 and answer.choices[0].finish_reason == "length"


@check
def a_repeated_prompt_is_read_from_the_prefix_cache():
    words = [{"role": "user", "content": "The gate keeper counts the water. " * 12 + "How much is it?"}]
    first, second = greedy(words, max_tokens=4), greedy(words, max_tokens=4)
    assert second.usage.prompt_tokens_details.cached_tokens > 0, second.usage
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.usage.prompt_tokens == second.usage.prompt_tokens


@check
def content_may_come_in_text_parts():
    parts = [{"role": "user", "content": [{"type": "text", "text": "Count from one to twenty"}, {"type": "text", "text": " in words."}]}]
    assert greedy(parts, max_tokens=8).choices[0].message.content


@check
def a_developer_message_is_understood():
    assert greedy([{"role": "developer", "content": "Answer briefly."}, *COUNT], max_tokens=4).choices[0].message.content


@check
def n_gives_so_many_choices_and_their_usage():
    answer = chat.create(model=MODEL, messages=LONG, n=3, max_tokens=12, temperature=1.2, seed=7)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert len({c.message.content for c in answer.choices}) > 1, "three draws of twelve tokens are all the same"
    assert 12 < answer.usage.completion_tokens <= 36


@check
def seed_repeats_a_draw_and_another_seed_does_not():
    def draw(seed):
        return chat.create(model=MODEL, messages=LONG, temperature=1.3, max_tokens=24, seed=seed).choices[0].message.content
    assert draw(11) == draw(11)
    assert draw(11) != draw(12)


@check
def a_stop_string_ends_the_answer_and_is_not_in_it():
    whole = greedy(LONG, max_tokens=32).choices[0].message.content
    stop = whole[len(whole) // 2: len(whole) // 2 + 5]
    answer = greedy(LONG, max_tokens=32, stop=[stop, "never to be seen"])
    text = answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop" and stop not in text
    assert text == whole[:whole.index(stop)], (text, whole, stop)
    streamed = joined(greedy(LONG, max_tokens=32, stop=stop, stream=True))
    assert streamed == text, (streamed, text)


@check
def logprobs_tell_each_token_and_its_rivals():
    answer = greedy(LONG, max_tokens=10, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens == 10
    assert b"".join(bytes(t.bytes) for t in tokens).decode(errors="ignore") == answer.choices[0].message.content
    for t in tokens:
        assert t.logprob <= 0 and len(t.top_logprobs) == 3
        assert t.top_logprobs == sorted(t.top_logprobs, key=lambda r: -r.logprob)
        assert t.token == t.top_logprobs[0].token, "a greedy token is the most likely one"
    streamed = [t for chunk in greedy(LONG, max_tokens=10, logprobs=True, top_logprobs=3, stream=True)
                for c in chunk.choices if c.logprobs for t in c.logprobs.content]
    assert [(t.token, t.logprob) for t in streamed] == [(t.token, t.logprob) for t in tokens]


@check
def penalties_and_bias_change_the_answer():
    again = [{"role": "user", "content": "Repeat the word water many times: water water water water water"}]
    plain = greedy(again, max_tokens=32)
    assert greedy(again, max_tokens=32, frequency_penalty=2, presence_penalty=2).choices[0].message.content != plain.choices[0].message.content
    token = greedy(again, max_tokens=1, logprobs=True).choices[0].message.content
    # OpenAI's API does not return the id of that token (one could find it by forbidding ids until the first
    # token changes); forcing an id is possible and shows the same.
    forced = greedy(again, max_tokens=3, logit_bias={"1000": 100}).choices[0].message.content
    assert forced and forced != greedy(again, max_tokens=3).choices[0].message.content and token is not None


@check
def text_in_many_scripts_comes_whole():
    prompt = [{"role": "user", "content": "Repeat exactly: 你好世界 🚀🌊 Привет עולם ありがとう 🏳️‍🌈"}]
    for temperature in (0, 1.5):
        whole = chat.create(model=MODEL, messages=prompt, max_tokens=48, temperature=temperature, seed=3)
        pieces = [c.delta.content or "" for chunk in chat.create(
            model=MODEL, messages=prompt, max_tokens=48, temperature=temperature, seed=3, stream=True) for c in chunk.choices]
        assert "".join(pieces) == whole.choices[0].message.content
        if temperature == 0:
            assert "\ufffd" not in "".join(pieces), pieces


@check
def fields_that_change_nothing_are_ignored_and_named():
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=COUNT, max_tokens=2, user="someone", store=False, metadata={"a": "b"},
        extra_body={"field_of_the_future": 1})
    assert answer.http_response.status_code == 200
    assert "field_of_the_future" in answer.headers.get("x-penstock-ignored", ""), dict(answer.headers)


@check
def the_request_id_goes_out_with_the_headers_and_tells_the_usage_later():
    answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=COUNT, max_tokens=6, temperature=0)
    usage = answer.parse().usage
    record = record_of(answer.headers["x-request-id"])
    assert record["usage"]["prompt_tokens"] == usage.prompt_tokens
    assert record["usage"]["completion_tokens"] == usage.completion_tokens
    assert record["outcome"] in ("stop", "length") and record["model"] == MODEL
    kinds = [event["kind"] for event in record["trail"]]
    assert kinds[0] == "queued" and kinds[-1] == "ended" and "first_token" in kinds, kinds


@check
def rate_limit_headers_tell_what_the_queue_has_room_for():
    headers = client.chat.completions.with_raw_response.create(model=MODEL, messages=COUNT, max_tokens=1).headers
    assert 0 <= int(headers["x-ratelimit-remaining-requests"]) <= int(headers["x-ratelimit-limit-requests"])


# ---- streams ----------------------------------------------------------------------------------------

@check
def a_stream_has_one_role_one_end_and_no_usage_unasked():
    chunks = list(greedy(stream=True))
    assert len({c.id for c in chunks}) == 1 and all(c.object == "chat.completion.chunk" and c.model == MODEL for c in chunks)
    assert len({c.created for c in chunks}) == 1 and all(c.choices for c in chunks) and all(c.usage is None for c in chunks)
    roles = [i for i, chunk in enumerate(chunks) for c in chunk.choices if c.delta.role]
    assert roles == [0], f"role in chunks {roles}"
    ends = [i for i, chunk in enumerate(chunks) for c in chunk.choices if c.finish_reason]
    assert ends == [len(chunks) - 1], f"finish_reason in chunks {ends} of {len(chunks)}"
    assert len(chunks) > 5, "one token an event"


@check
def a_stream_says_the_same_as_an_answer():
    assert joined(greedy(stream=True)) == greedy().choices[0].message.content


@check
def usage_comes_last_when_asked_for_and_equals_the_answers():
    chunks = list(greedy(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and all(c.usage is None for c in chunks[:-1])
    usage, whole = chunks[-1].usage, greedy().usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == \
        (whole.prompt_tokens, whole.completion_tokens, whole.total_tokens)


@check
def a_stream_of_n_choices_ends_each():
    chunks = list(chat.create(model=MODEL, messages=LONG, n=2, max_tokens=10, temperature=1, seed=5, stream=True,
                              stream_options={"include_usage": True}))
    whole = chat.create(model=MODEL, messages=LONG, n=2, max_tokens=10, temperature=1, seed=5)
    ends = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(ends) == [0, 1]
    assert [joined(chunks, i) for i in (0, 1)] == [c.message.content for c in whole.choices]
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


@check
def the_clients_own_stream_helper_follows():
    stop = greedy().choices[0].message.content[12:16]  # the helper treats an end by length as an error
    with client.chat.completions.stream(model=MODEL, messages=COUNT, max_tokens=24, temperature=0, stop=stop,
                                        stream_options={"include_usage": True}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds and final.usage.completion_tokens > 0


@check
def sixteen_streams_at_once_say_what_each_says_alone():
    def prompt(i):
        return [{"role": "user", "content": f"Write a sentence about the number {i}."}]
    alone = {i: greedy(prompt(i), max_tokens=16).choices[0].message.content for i in range(16)}

    async def all_at_once():
        asynchronous = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY)

        async def one(i):
            stream = await asynchronous.chat.completions.create(
                model=MODEL, messages=prompt(i), max_tokens=16, temperature=0, stream=True)
            return joined([chunk async for chunk in stream])
        return await asyncio.gather(*(one(i) for i in range(16)))
    together = asyncio.run(all_at_once())
    different = [i for i in range(16) if together[i] != alone[i]]
    assert not different, f"different in company: {different}"


@check
def a_stream_that_is_closed_stops_the_generation_and_is_billed_for_what_it_took():
    stream = chat.create(model=MODEL, messages=LONG, max_tokens=900, temperature=0, stream=True, extra_body={"ignore_eos": True})
    request_id = stream.response.headers["x-request-id"]
    got = 0
    for chunk in stream:
        got += bool(chunk.choices and chunk.choices[0].delta.content)
        if got == 5:
            break
    stream.close()
    record = record_of(request_id)
    assert record["outcome"] == "cancelled", record
    assert 5 <= record["usage"]["completion_tokens"] < 900, record["usage"]


# ---- completions ------------------------------------------------------------------------------------

@check
def the_old_completions_answer_and_stream():
    options = dict(model=MODEL, prompt="Once upon a time, there was", max_tokens=12, temperature=0)
    answer = client.completions.create(**options)
    assert answer.object == "text_completion" and answer.choices[0].text and answer.usage.completion_tokens <= 12
    chunks = list(client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.text for chunk in chunks for c in chunk.choices) == answer.choices[0].text
    assert chunks[-1].usage.total_tokens == answer.usage.total_tokens


@check
def the_old_completions_take_several_prompts_echo_and_logprobs():
    answer = client.completions.create(model=MODEL, prompt=["One two three", "Red green"], max_tokens=4, temperature=0)
    assert [c.index for c in answer.choices] == [0, 1]
    echoed = client.completions.create(model=MODEL, prompt="One two three", max_tokens=4, temperature=0, echo=True)
    assert echoed.choices[0].text == "One two three" + answer.choices[0].text
    logprobs = client.completions.create(model=MODEL, prompt="One two three", max_tokens=4, temperature=0, logprobs=2).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 4


# ---- errors -----------------------------------------------------------------------------------------

@check
def a_wrong_key_is_an_authentication_error():
    stranger = openai.OpenAI(base_url=f"{URL}/v1", api_key="sk-penstock-wrong", max_retries=0)
    error = raises(openai.AuthenticationError, lambda: stranger.chat.completions.create(model=MODEL, messages=COUNT))
    assert error.code and "key" in error.message.lower()
    raises(openai.AuthenticationError, lambda: stranger.models.list())


@check
def a_revoked_key_stops_at_once():
    made = admin("POST", "/keys", {"team": admin("GET", "/teams")["data"][0]["name"], "name": "short-lived"})
    guest = openai.OpenAI(base_url=f"{URL}/v1", api_key=made["secret"], max_retries=0)
    assert guest.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=1).choices
    admin("DELETE", f"/keys/{made['id']}")
    error = raises(openai.AuthenticationError, lambda: guest.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=1))
    assert "revoked" in error.message.lower(), error.message


@check
def a_key_scoped_to_another_model_is_refused():
    made = admin("POST", "/keys", {"team": admin("GET", "/teams")["data"][0]["name"], "name": "scoped", "models": ["another"]})
    guest = openai.OpenAI(base_url=f"{URL}/v1", api_key=made["secret"], max_retries=0)
    raises(openai.PermissionDeniedError, lambda: guest.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=1))


@check
def an_unknown_model_is_not_found_and_the_right_ones_are_named():
    error = raises(openai.NotFoundError, lambda: once.chat.completions.create(model="no-such-model", messages=COUNT))
    assert error.code == "model_not_found" and MODEL in error.message, (error.code, error.message)


@check
def bad_values_are_bad_requests_that_name_the_field():
    cases = [("temperature", {"temperature": -1}), ("temperature", {"temperature": "hot"}), ("top_p", {"top_p": 3}),
             ("n", {"n": 0}), ("max_tokens", {"max_tokens": 0}), ("stop", {"stop": ["a"] * 99}),
             ("top_logprobs", {"logprobs": True, "top_logprobs": 99}), ("logit_bias", {"logit_bias": {"5": 1000}}),
             ("frequency_penalty", {"frequency_penalty": 9}), ("messages", {"messages": []}),
             ("seed", {"seed": "lucky"})]
    for name, fields in cases:
        body = {"model": MODEL, "messages": COUNT, "max_tokens": 2, **fields}
        status, _, answer = raw("POST", "/v1/chat/completions", body)
        assert status == 400, f"{fields}: {status} {answer}"
        assert (answer["error"]["param"] or "").split("[")[0].split(".")[0] == name, f"{fields}: {answer['error']}"
    error = raises(openai.BadRequestError, lambda: once.chat.completions.create(model=MODEL, messages=COUNT, temperature=-1))
    assert error.param == "temperature"


@check
def what_is_not_served_yet_is_refused_by_name():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    for name, fields in [("tools", {"tools": [tool]}), ("response_format", {"response_format": schema}),
                         ("messages", {"messages": image})]:
        error = raises(openai.BadRequestError, lambda: once.chat.completions.create(
            **{"model": MODEL, "messages": COUNT, **fields}))
        assert (error.param or "").startswith(name), f"{name}: {error.param} {error.message}"


@check
def every_error_body_has_all_four_keys():
    asked = [("POST", "/v1/chat/completions", b"{not json"), ("POST", "/v1/chat/completions", b"[]"), ("GET", "/v1/nowhere", None),
             ("GET", "/v1/chat/completions", None), ("POST", "/v1/chat/completions", {"model": MODEL}),
             ("POST", "/v1/chat/completions", {"messages": COUNT}), ("GET", "/v1/requests/unknown", None)]
    for method, path, body in asked:
        status, _, answer = raw(method, path, body)
        assert status in (400, 404, 405), f"{method} {path} {body}: {status}"
        assert set(answer["error"]) == {"message", "type", "param", "code"}, f"{method} {path}: {answer}"
        assert answer["error"]["message"], f"{method} {path}: an empty message"


@check
def a_prompt_longer_than_the_context_says_so():
    error = raises(openai.BadRequestError, lambda: once.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "water " * 60000}]))
    assert error.code == "context_length_exceeded", error.code
    assert re.search(r"\d", error.message), error.message


@check
def a_repeated_idempotency_key_is_refused_without_retries():
    headers = {"Idempotency-Key": f"bench-{time.time_ns()}"}
    assert client.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=1, extra_headers=headers).choices
    CALLS.clear()
    raises(openai.ConflictError, lambda: client.chat.completions.create(
        model=MODEL, messages=COUNT, max_tokens=1, extra_headers=headers))
    assert len(CALLS) == 1, f"x-should-retry: false was not honoured: {len(CALLS)} calls"


@check
def a_model_out_of_service_is_a_503_that_retries_get_past():
    admin("POST", f"/models/{MODEL}/unload")
    try:
        error = raises(openai.InternalServerError, lambda: once.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=1))
        assert error.status_code == 503 and MODEL in error.message, error
        threading.Timer(0.7, lambda: admin("POST", f"/models/{MODEL}/load")).start()
        patient = client.with_options(max_retries=10)
        assert patient.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=1).choices
    finally:
        admin("POST", f"/models/{MODEL}/load")


@check
def a_full_queue_is_a_rate_limit_error_with_a_short_wait():
    assert BUSY_URL, "no busy cloud was given"
    busy = openai.OpenAI(base_url=f"{BUSY_URL}/v1", api_key=BUSY_KEY, max_retries=0)
    model = busy.models.list().data[0].id
    options = dict(model=model, messages=LONG, max_tokens=900, temperature=0, stream=True, extra_body={"ignore_eos": True})
    held, refusal = [], None
    try:
        threads = []
        for _ in range(5):
            thread = threading.Thread(target=lambda: held.append(_try(lambda: busy.chat.completions.create(**options))))
            thread.start()
            threads.append(thread)
            time.sleep(0.1)
        deadline = time.monotonic() + 10
        while refusal is None and time.monotonic() < deadline:
            refusal = next((h for h in held if isinstance(h, Exception)), None)
            time.sleep(0.05)
    finally:
        for one in held:
            if not isinstance(one, Exception):
                one.close()
    assert type(refusal) is openai.RateLimitError, repr(refusal)
    wait = refusal.response.headers.get("retry-after")
    assert wait is not None and 0 < float(wait) <= 60, wait


def _try(function):
    try:
        return function()
    except openai.APIError as error:
        return error


run_all(f"openai-python {openai.__version__}")
