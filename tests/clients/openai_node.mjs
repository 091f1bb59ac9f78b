// The official OpenAI client for Node with a cloud: one check for each behaviour.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { COUNT, KEY, LONG, MODEL, OPERATOR_KEY, URL_BASE, admin, installedVersion, runAll, recordOf } from "./checks.mjs";

const require = createRequire(`${process.env.PENSTOCK_CLIENTS}/package.json`);
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")));
const version = installedVersion("openai");

let calls = 0;
const counted = (...args) => (++calls, fetch(...args));
const client = new OpenAI({ baseURL: `${URL_BASE}/v1`, apiKey: KEY, fetch: counted });
const greedy = (options = {}, messages = COUNT) =>
  client.chat.completions.create({ model: MODEL, messages, max_tokens: 24, temperature: 0, ...options });
const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
const joined = (chunks) => chunks.flatMap((c) => c.choices).map((c) => c.delta.content ?? "").join("");
const raises = async (kind, make) => {
  try {
    await make();
  } catch (error) {
    assert.equal(error.constructor.name, kind.name);
    return error;
  }
  assert.fail(`no ${kind.name}`);
};

await runAll(`openai-node ${version}`, {
  "models are listed": async () => {
    const page = await client.models.list();
    assert.ok(page.data.some((m) => m.id === MODEL && m.object === "model"));
  },
  "an answer has text, a reason to end and usage that adds up": async () => {
    const answer = await greedy();
    assert.ok(answer.choices[0].message.content.length > 0);
    assert.ok(["stop", "length"].includes(answer.choices[0].finish_reason));
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  },
  "a stream says the same as an answer, with one role and one end": async () => {
    const chunks = await collect(await greedy({ stream: true }));
    assert.equal(joined(chunks), (await greedy()).choices[0].message.content);
    assert.equal(chunks.filter((c) => c.choices[0].delta.role).length, 1);
    assert.ok(chunks.at(-1).choices[0].finish_reason);
    assert.ok(chunks.every((c) => c.usage == null));
  },
  "usage comes last when asked for": async () => {
    const chunks = await collect(await greedy({ stream: true, stream_options: { include_usage: true } }));
    const usage = (await greedy()).usage;
    assert.equal(chunks.at(-1).choices.length, 0);
    assert.equal(chunks.at(-1).usage.completion_tokens, usage.completion_tokens);
    assert.equal(chunks.at(-1).usage.prompt_tokens, usage.prompt_tokens);
    assert.equal(chunks.filter((c) => c.usage).length, 1);
  },
  "the client's own stream helper follows": async () => {
    const stream = client.chat.completions.stream({ model: MODEL, messages: COUNT, max_tokens: 12, temperature: 0 });
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].message.content, text);
  },
  "an aborted stream stops the generation": async () => {
    const { data: stream, response } = await client.chat.completions
      .create({ model: MODEL, messages: LONG, max_tokens: 900, temperature: 0, stream: true, ignore_eos: true })
      .withResponse();
    let got = 0;
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content && ++got === 5) break;
    }
    stream.controller.abort();
    const record = await recordOf(response.headers.get("x-request-id"));
    assert.equal(record.outcome, "cancelled");
    assert.ok(record.usage.completion_tokens >= 5 && record.usage.completion_tokens < 900);
  },
  "an aborted answer stops the generation": async () => {
    const abort = new AbortController();
    const pending = client.chat.completions.create(
      { model: MODEL, messages: LONG, max_tokens: 900, ignore_eos: true }, { signal: abort.signal });
    setTimeout(() => abort.abort(), 300);
    await raises(OpenAI.APIUserAbortError, () => pending);
    for (const deadline = Date.now() + 3000; ; ) {
      const status = await admin("GET", "/status");
      if (status.running === 0) break;
      assert.ok(Date.now() < deadline, "it still runs 3 s after the client went");
      await new Promise((resume) => setTimeout(resume, 50));
    }
  },
  "a wrong key is an AuthenticationError": async () => {
    const stranger = new OpenAI({ baseURL: `${URL_BASE}/v1`, apiKey: "sk-penstock-wrong", maxRetries: 0 });
    const error = await raises(OpenAI.AuthenticationError, () => stranger.models.list());
    assert.equal(error.status, 401);
  },
  "an unknown model is a NotFoundError": async () => {
    const error = await raises(OpenAI.NotFoundError, () => greedy({ model: "no-such-model" }));
    assert.equal(error.code, "model_not_found");
  },
  "a bad value is a BadRequestError that names its field, and is not retried": async () => {
    calls = 0;
    const error = await raises(OpenAI.BadRequestError, () => greedy({ temperature: 5000 }));
    assert.equal(error.param, "temperature");
    assert.equal(calls, 1);
  },
  "tools are refused by name": async () => {
    const tools = [{ type: "function", function: { name: "f", parameters: { type: "object", properties: {} } } }];
    const error = await raises(OpenAI.BadRequestError, () => greedy({ tools }));
    assert.match(error.param ?? "", /^tools/);
  },
  "a repeated idempotency key is a ConflictError that is not retried": async () => {
    const headers = { "Idempotency-Key": `bench-${process.hrtime.bigint()}` };
    const body = { model: MODEL, messages: COUNT, max_tokens: 1 };
    await client.chat.completions.create(body, { headers });
    calls = 0;
    await raises(OpenAI.ConflictError, () => client.chat.completions.create(body, { headers }));
    assert.equal(calls, 1);
  },
  "a model out of service is retried until it is back": async () => {
    await admin("POST", `/models/${MODEL}/unload`);
    try {
      const error = await raises(OpenAI.InternalServerError, () =>
        client.chat.completions.create({ model: MODEL, messages: COUNT, max_tokens: 1 }, { maxRetries: 0 }));
      assert.equal(error.status, 503);
      setTimeout(() => admin("POST", `/models/${MODEL}/load`), 700);
      const answer = await client.chat.completions.create({ model: MODEL, messages: COUNT, max_tokens: 1 }, { maxRetries: 10 });
      assert.ok(answer.choices.length);
    } finally {
      await admin("POST", `/models/${MODEL}/load`);
    }
  },
  "n, stop, seed and logprobs": async () => {
    const several = await greedy({ n: 2, temperature: 1, seed: 4, max_tokens: 8 }, LONG);
    assert.deepEqual(several.choices.map((c) => c.index), [0, 1]);
    const whole = (await greedy({}, LONG)).choices[0].message.content;
    const stop = whole.slice(20, 24);
    const stopped = (await greedy({ stop }, LONG)).choices[0];
    assert.equal(stopped.message.content, whole.slice(0, whole.indexOf(stop)));
    assert.equal(stopped.finish_reason, "stop");
    const logprobs = (await greedy({ logprobs: true, top_logprobs: 2, max_tokens: 5 })).choices[0].logprobs.content;
    assert.ok(logprobs.length === 5 && logprobs.every((t) => t.top_logprobs.length === 2 && t.logprob <= 0));
  },
  "the old completions answer and stream": async () => {
    const options = { model: MODEL, prompt: "Once upon a time, there was", max_tokens: 10, temperature: 0 };
    const answer = await client.completions.create(options);
    const chunks = await collect(await client.completions.create({ ...options, stream: true }));
    assert.equal(chunks.flatMap((c) => c.choices).map((c) => c.text).join(""), answer.choices[0].text);
  },
  "sixteen streams at once say what each says alone": async () => {
    const prompt = (i) => [{ role: "user", content: `Write a sentence about the number ${i}.` }];
    const numbers = [...Array(16).keys()];
    const together = await Promise.all(
      numbers.map(async (i) => joined(await collect(await greedy({ stream: true, max_tokens: 16 }, prompt(i))))));
    for (const i of numbers) {
      assert.equal(together[i], (await greedy({ max_tokens: 16 }, prompt(i))).choices[0].message.content);
    }
  },
  "many scripts come whole": async () => {
    const prompt = [{ role: "user", content: "Repeat exactly: 你好世界 🚀🌊 Привет עולם ありがとう 🏳️‍🌈" }];
    const text = joined(await collect(await greedy({ stream: true, max_tokens: 48 }, prompt)));
    assert.equal(text, (await greedy({ max_tokens: 48 }, prompt)).choices[0].message.content);
    assert.ok(!text.includes("\ufffd"));
  },
  "the operator's key is no team's": async () => {
    const operator = new OpenAI({ baseURL: `${URL_BASE}/v1`, apiKey: OPERATOR_KEY, maxRetries: 0 });
    assert.ok((await operator.models.list()).data.length > 0);
  },
});
