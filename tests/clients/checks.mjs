// Helpers of the client scripts: each check is a named function that fails by throwing.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const URL_BASE = process.env.PENSTOCK_URL;
export const KEY = process.env.PENSTOCK_KEY;
export const OPERATOR_KEY = process.env.PENSTOCK_OPERATOR_KEY;
export const MODEL = process.env.PENSTOCK_MODEL;

export const COUNT = [{ role: "user", content: "Count from one to twenty in words." }];
export const LONG = [{ role: "user", content: "Tell me a long story about a river, a mill and a miller's daughter." }];

// Some packages do not export their package.json.
export const installedVersion = (name) =>
  JSON.parse(readFileSync(`${process.env.PENSTOCK_CLIENTS}/node_modules/${name}/package.json`, "utf8")).version;

// Prints one JSON row per check; the exit status is 1 if one failed.
export async function runAll(client, checks) {
  const wanted = process.argv.slice(2);
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    if (wanted.length && !wanted.some((word) => name.includes(word))) continue;
    const began = performance.now();
    const row = { client, check: name, ok: true };
    try {
      await check();
    } catch (error) {
      ++failed;
      row.ok = false;
      row.detail = `${error?.name}: ${error?.message} ${(error?.stack ?? "").split("\n").find((l) => l.includes("tests/clients")) ?? ""}`.slice(0, 600);
    }
    row.ms = Math.round(performance.now() - began);
    console.log(JSON.stringify(row));
  }
  process.exit(failed ? 1 : 0);
}

export async function admin(method, path) {
  const answer = await fetch(`${URL_BASE}/admin/v1${path}`, { method, headers: { Authorization: `Bearer ${OPERATOR_KEY}` } });
  assert.ok(answer.ok, `admin ${method} ${path}: ${answer.status}`);
  return answer.json();
}

// GET /v1/requests/{id}, once the request has ended.
export async function recordOf(id) {
  for (const deadline = Date.now() + 5000; ; ) {
    const answer = await fetch(`${URL_BASE}/v1/requests/${id}`, { headers: { Authorization: `Bearer ${KEY}` } });
    const record = await answer.json();
    if (answer.status === 200 && record.state === "ended") return record;
    assert.ok(Date.now() < deadline, `request ${id} has not ended: ${answer.status} ${JSON.stringify(record)}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}
