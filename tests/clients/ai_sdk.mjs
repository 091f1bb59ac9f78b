// The AI SDK's openai-compatible provider, the client that checks chunks most strictly, with a cloud.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { KEY, MODEL, URL_BASE, admin, installedVersion, runAll, recordOf } from "./checks.mjs";

const require = createRequire(`${process.env.PENSTOCK_CLIENTS}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { generateText, streamText, APICallError, RetryError } = await load("ai");
const version = installedVersion("@ai-sdk/openai-compatible");
globalThis.AI_SDK_LOG_WARNINGS = false;

const provider = (apiKey = KEY) =>
  createOpenAICompatible({ name: "penstock", baseURL: `${URL_BASE}/v1`, apiKey, includeUsage: true });
const model = provider()(MODEL);
const prompt = "Count from one to twenty in words.";
const story = "Tell me a long story about a river, a mill and a miller's daughter.";
const greedy = { model, prompt, temperature: 0, maxOutputTokens: 24, maxRetries: 0 };

const fails = async (options) => {
  try {
    await generateText({ ...greedy, ...options });
  } catch (error) {
    assert.ok(APICallError.isInstance(error), `raised ${error.name}: ${error.message}`);
    return error;
  }
  assert.fail("no error");
};

await runAll(`ai-sdk openai-compatible ${version}`, {
  "generateText has text, reason and usage": async () => {
    const answer = await generateText(greedy);
    assert.ok(answer.text.length > 0);
    assert.ok(["stop", "length"].includes(answer.finishReason));
    assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
    assert.equal(answer.usage.totalTokens, answer.usage.inputTokens + answer.usage.outputTokens);
  },
  "streamText's parts come in order, each once": async () => {
    const kinds = [];
    for await (const part of streamText(greedy).fullStream) {
      assert.notEqual(part.type, "error", JSON.stringify(part.error?.message ?? part.error));
      if (kinds.at(-1) !== part.type) kinds.push(part.type);
    }
    assert.deepEqual(kinds, ["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]);
  },
  "streamText says what generateText says, usage included": async () => {
    const whole = await generateText(greedy);
    const stream = streamText(greedy);
    assert.equal(await stream.text, whole.text);
    const usage = await stream.usage;
    assert.equal(usage.outputTokens, whole.usage.outputTokens);
    assert.equal(usage.inputTokens, whole.usage.inputTokens);
    assert.equal(await stream.finishReason, whole.finishReason);
  },
  "every raw chunk was understood": async () => {
    let raw = 0;
    const stream = streamText({ ...greedy, includeRawChunks: true });
    for await (const part of stream.fullStream) {
      assert.notEqual(part.type, "error");
      raw += part.type === "raw";
    }
    assert.ok(raw > 5);
    assert.deepEqual((await stream.warnings) ?? [], []);
  },
  "an aborted stream stops the generation": async () => {
    const abort = new AbortController();
    let id = "";
    const stream = streamText({ ...greedy, model: createOpenAICompatible({
      name: "penstock", baseURL: `${URL_BASE}/v1`, apiKey: KEY,
      fetch: async (...args) => {
        const answer = await fetch(...args);
        id = answer.headers.get("x-request-id");
        return answer;
      },
    })(MODEL), prompt: story, maxOutputTokens: 900, abortSignal: abort.signal });
    let got = 0;
    for await (const part of stream.fullStream) {
      if (part.type === "text-delta" && ++got === 5) abort.abort();
      if (part.type === "abort") break;
    }
    const record = await recordOf(id);
    assert.equal(record.outcome, "cancelled");
    assert.ok(record.usage.completion_tokens >= 5);
  },
  "a wrong key is a 401 that is not worth a retry": async () => {
    const error = await fails({ model: provider("sk-penstock-wrong")(MODEL) });
    assert.equal(error.statusCode, 401);
    assert.equal(error.isRetryable, false);
  },
  "an unknown model is a 404 with the server's words": async () => {
    const error = await fails({ model: provider()("no-such-model") });
    assert.equal(error.statusCode, 404);
    assert.match(error.message, new RegExp(MODEL.replace(/[.]/g, "\\.")));
  },
  "a bad value is a 400 with the server's words": async () => {
    const error = await fails({ temperature: 5000 });
    assert.equal(error.statusCode, 400);
    assert.match(error.message, /temperature/);
  },
  "a model out of service is a 503 that retries get past": async () => {
    await admin("POST", `/models/${MODEL}/unload`);
    try {
      const error = await fails({});
      assert.equal(error.statusCode, 503);
      assert.equal(error.isRetryable, true);
      setTimeout(() => admin("POST", `/models/${MODEL}/load`), 700);
      assert.ok((await generateText({ ...greedy, maxRetries: 4 })).text);
    } finally {
      await admin("POST", `/models/${MODEL}/load`);
    }
  },
  "stop sequences, seed and penalties are passed on": async () => {
    const whole = (await generateText({ ...greedy, prompt: story })).text;
    const stop = whole.slice(20, 24);
    const stopped = await generateText({ ...greedy, prompt: story, stopSequences: [stop] });
    assert.equal(stopped.text, whole.slice(0, whole.indexOf(stop)));
    assert.equal(stopped.finishReason, "stop");
    const draw = async (seed) => (await generateText({ ...greedy, prompt: story, temperature: 1.3, seed })).text;
    assert.equal(await draw(5), await draw(5));
  },
  "sixteen streams at once say what each says alone": async () => {
    const numbers = [...Array(16).keys()];
    const options = (i) => ({ ...greedy, maxOutputTokens: 12, prompt: `Write a sentence about the number ${i}.` });
    const together = await Promise.all(numbers.map((i) => streamText(options(i)).text));
    for (const i of numbers) assert.equal(together[i], (await generateText(options(i))).text);
  },
});
