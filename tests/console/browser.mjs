// Shared by the console's tests: a headless Chromium, and result rows on stdout.
import { createRequire } from 'node:module';
import fs from 'node:fs';

const require = createRequire(`${process.env.PENSTOCK_BROWSER_TOOLS}/node_modules/`);
const { chromium } = require('playwright-core');
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const URL_ = process.env.PENSTOCK_URL;
export const MODEL = process.env.PENSTOCK_MODEL;

export const row = (fields) => process.stdout.write(`${JSON.stringify(fields)}\n`);

export function launch() {
  return chromium.launch({ executablePath: process.env.PENSTOCK_BROWSER, args: ['--no-sandbox'] });
}

// A page with its own storage. `faults` collects what must not happen: script errors, violations of the content
// security policy, and requests to other servers.
export async function openPage(browser, { theme = 'light', width = 1280, height = 800, motion = 'reduce' } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: motion,
    permissions: ['clipboard-read', 'clipboard-write'] });
  context.setDefaultTimeout(10000);
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => {
    if (/Content.Security.Policy|TypeError|ReferenceError/i.test(message.text())) faults.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(`${URL_}/`)) faults.push(`asked ${request.url()}`);
  });
  return { context, page, faults };
}

export async function signIn(page, key, { keep = false } = {}) {
  await page.goto(`${URL_}/`);
  await page.fill('#key', key);
  if (keep) await page.check('#keep');
  await page.press('#key', 'Enter');
  await page.waitForSelector('#bar:visible');
}

// Serious and critical faults found by axe-core, as texts. Evaluated in an isolated world, because the page's policy
// blocks the script.
export async function axeFaults(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate('axe.run({resultTypes: ["violations"]})');
  return violations.filter((v) => ['serious', 'critical'].includes(v.impact))
    .map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).slice(0, 4).join(', ')}`);
}

export async function api(path, key, body, method) {
  const answer = await fetch(URL_ + path, { method: method ?? (body ? 'POST' : 'GET'),
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
  return { status: answer.status, json: await answer.json() };
}

export function demand(condition, what) {
  if (!condition) throw new Error(what);
}
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Waits until `condition` holds; its last result is in the error.
export async function eventually(condition, what, ms = 15000) {
  let last;
  for (const until = Date.now() + ms; Date.now() < until; await pause(50)) {
    last = await condition();
    if (last) return last;
  }
  throw new Error(`${what} (last: ${JSON.stringify(last)})`);
}
