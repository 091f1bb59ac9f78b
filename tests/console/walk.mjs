// Uses the console as an operator, a team lead, a developer and finance, with a cloud that serves a real model.
// One row per check: {part: "walk", seat, theme, check, ok, detail}. Screenshots are written to PENSTOCK_PICTURES.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { api, axeFaults, demand, eventually, launch, MODEL, openPage, pause, row, signIn, URL_ } from './browser.mjs';

const run = promisify(execFile);
const KEYS = JSON.parse(process.env.PENSTOCK_SEATS);  // operator, finance; team_lead, developer, colleague of one team; stranger
const TEAM = 'research', OTHER_TEAM = 'harbour';
const ROLES = { operator: 'operator', team_lead: 'team lead', developer: 'developer', finance: 'finance' };
const seesAll = (seat) => seat === 'operator' || seat === 'finance';
const viewsOf = (seat) => (seat === 'finance' ? ['cloud', 'usage'] : ['chat', 'cloud', 'usage']);
const PICTURES = process.env.PENSTOCK_PICTURES;
const ASKED = 'Write a Python function that reverses a string. It\'s "simple": 5% of $HOME, ünïcode 🌊.';

let now = {};  // the current role and theme, for the rows

async function claim(check, prove) {
  const began = Date.now();
  try {
    const detail = await prove();
    row({ part: 'walk', ...now, check, ok: true, detail: detail ?? '', ms: Date.now() - began });
  } catch (error) {
    row({ part: 'walk', ...now, check, ok: false, detail: firstLine(error) });
  }
}
const firstLine = (error) => String(error.message).split('\n')[0].slice(0, 600);

async function picture(page, name, options = {}) {
  if (!PICTURES) return;
  await page.mouse.move(1, 400);
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: path.join(PICTURES, `${name}.png`), ...options });
}

// A request that runs until it is stopped.
async function keepRunning(key) {
  const controller = new AbortController();
  const answer = await fetch(`${URL_}/v1/chat/completions`, { method: 'POST', signal: controller.signal,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL, stream: true, max_tokens: 6000, ignore_eos: true, messages: [{ role: 'user', content: 'Tell a very long story.' }] }) });
  demand(answer.status === 200, `a request in the background: ${answer.status}`);
  (async () => { for await (const _ of answer.body); })().catch(() => {});
  return () => controller.abort();
}

const lastAnswer = (page) => page.locator('#turns > .answer, #turns > .assistant').last();
const idle = (page) => page.waitForSelector('#send:visible', { timeout: 120000 });
const fact = async (page, name) => (await lastAnswer(page).locator(`.facts .${name} dd`).textContent()).trim();
const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());
const goTo = async (page, view) => {
  await page.click(`.views a[href="#/${view}"]`);
  await page.waitForSelector(`#view-${view}:visible`);
};

async function set(page, settings) {
  await page.click('#tab-settings');
  for (const [id, value] of Object.entries(settings)) await page.fill(`#${id}`, value);
}

// ---- signing in ----

async function walkSignIn(page, seat) {
  await claim('a wrong key is refused with the server\'s message, and the field has the focus', async () => {
    await page.goto(`${URL_}/`);
    await page.keyboard.type('sk-penstock-wrong');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#key-error:visible');
    const { json } = await api('/v1/live', 'sk-penstock-wrong');
    demand((await page.textContent('#key-error')) === json.error.message, await page.textContent('#key-error'));
    demand(await page.evaluate(() => document.activeElement.id === 'key'), 'another element has the focus');
  });
  await claim('axe finds no serious fault at the sign-in', () => noFaults(page));
  await claim('signs in by keyboard alone and shows team and role', async () => {
    await page.fill('#key', '');
    await page.keyboard.type(KEYS[seat]);
    await page.keyboard.press('Enter');
    await page.waitForSelector('#bar:visible');
    demand((await page.textContent('#seat-role')) === ROLES[seat], await page.textContent('#seat-role'));
    demand((await page.textContent('#seat-team')) === (seesAll(seat) ? 'all teams' : TEAM), await page.textContent('#seat-team'));
    const first = seat === 'finance' ? 'cloud-title' : 'draft';
    await eventually(() => page.evaluate((id) => document.activeElement.id === id, first), `${first} does not have the focus`);
  });
  await claim('the key is stored only for this tab unless the user keeps it', async () => {
    const where = await page.evaluate(() => [sessionStorage.length, Object.keys(localStorage).join()]);
    demand(where[0] === 1 && where[1] === '', JSON.stringify(where));
    await page.reload();
    await page.waitForSelector('#bar:visible');
  });
}

async function noFaults(page) {
  const faults = await axeFaults(page);
  demand(faults.length === 0, faults.join('; '));
}

// ---- the chat ----

async function walkChat(page, seat, key) {
  await page.waitForFunction(() => !document.getElementById('send').disabled);
  await set(page, { temperature: '0', 'max-tokens': '120', seed: '7' });
  let text;
  await claim('an answer appears while it is generated, by keyboard alone', async () => {
    await page.focus('#draft');
    await page.keyboard.type('One line');
    await page.keyboard.press('Shift+Enter');
    demand((await page.inputValue('#draft')) === 'One line\n', 'Shift+Enter makes no new line');
    await page.fill('#draft', ASKED);
    await page.keyboard.press('Enter');
    await page.waitForSelector('#stop:visible');
    const lengths = new Set();
    while (await page.isVisible('#stop')) lengths.add((await lastAnswer(page).locator(':scope > .body').textContent()).length);
    demand(lengths.size > 4, `seen at ${lengths.size} lengths only`);
    demand(await page.evaluate(() => document.activeElement.id === 'draft'), 'the focus left the message field');
    return `seen at ${lengths.size} lengths`;
  });
  await claim('time to first token, tokens/s and counts match the request\'s record', async () => {
    const id = await fact(page, 'id');
    const { json } = await api(`/v1/requests/${id}`, key);
    demand((await fact(page, 'in')) === String(json.usage.prompt_tokens), 'tokens in');
    demand((await fact(page, 'out')) === String(json.usage.completion_tokens), 'tokens out');
    demand(/^\d[\d.]* (ms|s)$/.test(await fact(page, 'first')), await fact(page, 'first'));
    const first = json.trail.find((event) => event.kind === 'first_token').at;
    const shown = Number((await fact(page, 'rate')).replaceAll(',', ''));
    const booked = (json.usage.completion_tokens - 1) / (json.ended - first);
    demand(shown > booked * 0.8 && shown < booked * 1.25, `shows ${shown} tokens/s, the record has ${booked.toFixed(1)}`);
    return `TTFT ${await fact(page, 'first')}, ${shown} tokens/s (record ${booked.toFixed(1)})`;
  });
  await claim('screen readers get the whole answer, once', async () => {
    const said = await page.textContent('#announce');
    const body = await lastAnswer(page).locator(':scope > .body').textContent();
    demand(said === body.slice(0, 2000), `"${said}" for "${body}"`);
  });
  await claim('regenerating with the same seed gives the same answer', async () => {
    await lastAnswer(page).getByRole('button', { name: 'Copy' }).last().click();
    text = await clipboard(page);
    await lastAnswer(page).getByRole('button', { name: 'Regenerate' }).click();
    await page.waitForSelector('#stop:visible');
    await idle(page);
    await lastAnswer(page).getByRole('button', { name: 'Copy' }).last().click();
    demand((await clipboard(page)) === text, 'another answer');
    demand((await page.locator('#turns > li').count()) === 2, 'the old answer is still there');
  });
  await claim('axe finds no serious fault in the chat, settings open', () => noFaults(page));
  await walkCode(page, key, text);
  await claim('Escape stops, and the record has the tokens until then', async () => {
    await set(page, { 'max-tokens': '2000' });
    await page.fill('#draft', 'Count from one to five hundred in words.');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('#turns').lastElementChild.querySelector(':scope > .body').textContent.length > 40);
    await page.keyboard.press('Escape');
    await idle(page);
    const id = await fact(page, 'id');
    const record = await eventually(async () => {
      const { json } = await api(`/v1/requests/${id}`, key);
      return json.state === 'ended' && json;
    }, 'the request has not ended');
    demand(record.outcome === 'cancelled', record.outcome);
    await eventually(async () => (await fact(page, 'out').catch(() => '')) === String(record.usage.completion_tokens), 'tokens out');
    return `${record.usage.completion_tokens} tokens billed`;
  });
  await claim('the request trace opens, and Escape closes it', async () => {
    await lastAnswer(page).getByRole('button', { name: 'Request trace' }).click();
    try {
      await page.waitForSelector('#trace-trail li');
      const trace = await page.textContent('#trace');
      for (const word of ['Queued', 'First token', 'cancelled', MODEL]) demand(trace.includes(word), `no ${word} in it`);
      await noFaults(page);
    } finally {
      await page.keyboard.press('Escape');
    }
    demand(!(await page.isVisible('#trace')), 'it is still open');
  });
  await claim('the last question can be edited and sent again', async () => {
    await page.getByRole('button', { name: 'Edit' }).click();
    demand((await page.inputValue('#draft')).startsWith('Count from one'), 'the question is not in the field');
    demand((await page.locator('#turns > li').count()) === 2, 'the turn is still there');
    await page.fill('#draft', '');
  });
  if (seat === 'developer') await portrait(page);
}

// Screenshots of the chat for the docs.
async function portrait(page) {
  await page.click('#new-chat');
  await set(page, { 'max-tokens': '300' });
  await page.fill('#draft', 'Write a Python function that counts the words of a text, and explain it.');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('#turns').lastElementChild.querySelector(':scope > .body').textContent.length > 250);
  await picture(page, `busy-${now.theme}`);
  await idle(page);
  await pause(1600);  // until "Copied" disappears
  await picture(page, `chat-${now.theme}`);
  await page.click('#tab-code');
  await page.click('#tab-python');
  await picture(page, `code-${now.theme}`);
}

// Each of the three programs runs unchanged and prints the same answer as the page.
async function walkCode(page, key, text) {
  const folder = process.env.PENSTOCK_CLIENTS;
  const env = { ...process.env, PENSTOCK_KEY: key };
  const programs = {
    curl: async (code) => {
      const { stdout } = await run('bash', ['-c', code], { env });
      return stdout.split('\n').filter((line) => line.startsWith('data: {')).map((line) => JSON.parse(line.slice(6)).choices[0]?.delta.content ?? '').join('');
    },
    python: async (code) => (await run(`${folder}/python/bin/python`, ['-c', code], { env })).stdout.replace(/\n$/, ''),
    node: async (code) => {
      const file = path.join(folder, `console-${process.pid}.mjs`);
      fs.writeFileSync(file, code);
      try {
        return (await run('node', [file], { env })).stdout.replace(/\n$/, '');
      } finally {
        fs.rmSync(file);
      }
    },
  };
  await page.click('#tab-code');
  for (const [language, program] of Object.entries(programs)) {
    await claim(`the ${language} code runs unchanged and gives the same answer`, async () => {
      await page.click(`#tab-${language}`);
      await page.click('#copy-code');
      const code = await clipboard(page);
      demand(code === (await page.textContent('#code-text')), 'what is copied is not what is shown');
      demand(!code.includes(key), 'the key is in it');
      const said = await program(code);
      demand(said === text, `"${said}" for "${text}"`);
      return `${said.length} characters`;
    });
  }
  await claim('arrow keys select tabs', async () => {
    await page.focus('#tab-node');
    await page.keyboard.press('ArrowRight');
    demand((await page.getAttribute('#tab-curl', 'aria-selected')) === 'true', 'the first is not selected');
    demand((await page.textContent('#code-text')).startsWith('curl'), 'its text is not shown');
  });
  await claim('the code shows the request that Send would make', async () => {
    await page.fill('#draft', 'Not sent yet');
    demand((await page.textContent('#code-text')).includes('Not sent yet'), 'it does not');
    await page.fill('#draft', '');
  });
  await claim('axe finds no serious fault in the chat, code open', () => noFaults(page));
}

// A role that may not use models has no chat, neither in the console nor in the API.
async function walkWithoutChat(page, key) {
  await claim('there is no chat, and its address leads to the first available view', async () => {
    const links = await page.$$eval('.views a', (all) => all.filter((a) => a.checkVisibility()).map((a) => a.textContent.trim()));
    demand(links.join() === 'Cloud,Usage', links.join());
    await page.goto(`${URL_}/#/chat`);
    await page.reload();
    await page.waitForSelector('#view-cloud:visible');
    demand(!(await page.isVisible('#view-chat')), 'the chat is shown');
    await page.goto(`${URL_}/#/cloud`);
  });
  await claim('the cloud refuses a chat with this key because of its role', async () => {
    const { status, json } = await api('/v1/chat/completions', key, { model: MODEL, messages: [{ role: 'user', content: 'Hello' }] });
    demand(status === 403 && json.error.message.includes('finance'), `${status} ${json.error?.message}`);
    return json.error.message;
  });
}

// ---- errors ----

async function walkErrors(page, seat) {
  const admin = (what) => api(`/admin/v1/models/${MODEL}/${what}`, KEYS.operator, {});
  await claim('an error is shown with the server\'s message, and trying again succeeds', async () => {
    await set(page, { 'max-tokens': '20' });
    await admin('unload');
    await page.fill('#draft', 'Hello');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#turns .error:visible');
    const error = await page.textContent('#turns .error:visible');
    demand(error.includes(MODEL) && error.includes('503'), error);
    await noFaults(page);
    if (seat === 'developer') await picture(page, `error-${now.theme}`);
    await admin('load');
    await eventually(async () => (await api('/v1/models', KEYS.operator)).json.data.length > 0 && (await fetch(`${URL_}/readyz`)).ok, 'ready again');
    await eventually(async () => {  // an engine may still report "being loaded" for a moment
      const again = page.getByRole('button', { name: 'Try again' });
      if (await again.isVisible()) await again.click();
      return lastAnswer(page).locator('.facts .rate').isVisible();
    }, 'it never answers');
    await idle(page);
    return error;
  });
}

async function walkLoss(page) {
  await claim('a lost connection is shown at the top until it is back', async () => {
    await page.context().setOffline(true);
    await goTo(page, 'cloud');
    await page.waitForSelector('#banner:visible');
    await page.context().setOffline(false);
    await page.waitForSelector('#banner', { state: 'hidden', timeout: 10000 });
  });
}

// ---- the cloud ----

async function walkCloud(page, seat, key) {
  const stops = [];
  for (const who of ['developer', 'colleague', 'colleague', 'stranger']) stops.push(await keepRunning(KEYS[who]));
  const seen = { operator: 4, finance: 4, team_lead: 3, developer: 1 }[seat];
  await goTo(page, 'cloud');
  await claim('models, engines and their memory are shown as the API returns them', async () => {
    await page.waitForSelector('#models tr');
    const { json } = await api('/v1/live', key);
    const model = await page.textContent('#models tr');
    demand(model.includes(MODEL) && model.includes('ready'), model);
    const engine = await page.textContent('#engines');
    for (const word of [json.engines[0].name, json.engines[0].chip, json.engines[0].kernel, 'GiB']) demand(engine.includes(word), `no ${word} in ${engine}`);
    return engine;
  });
  await claim(`sees the ${seen} requests that this role may see, and their progress`, async () => {
    await page.waitForFunction((n) => document.querySelectorAll('#requests tr').length === n, seen);
    const tokens = () => page.$$eval('#requests tr', (rows) => rows.map((tr) => Number(tr.cells[5].textContent.replaceAll(',', ''))));
    const before = await tokens();
    await pause(2500);
    const after = await tokens();
    demand(after.every((n, i) => n > before[i]), `${before} then ${after}`);
    return `${before} then ${after}`;
  });
  await claim('tokens/s are shown', async () => {
    const shown = Number((await page.textContent('#tile-rate')).replaceAll(',', ''));
    demand(shown > 1, `${shown}`);
    return `${shown} tokens/s`;
  });
  await claim(seesAll(seat) ? 'sees every team' : 'sees its own team and the sum of the others, without names', async () => {
    const teams = await page.$$eval('#teams tr', (rows) => rows.map((tr) => [...tr.cells].slice(0, 3).map((cell) => cell.textContent)));
    const running = Object.fromEntries(teams.map(([team, n]) => [team, Number(n)]));
    demand(running[TEAM] === 3, JSON.stringify(teams));
    if (seesAll(seat)) {
      demand(running[OTHER_TEAM] === 1, JSON.stringify(teams));
    } else {
      demand(running['All other teams'] === 1, JSON.stringify(teams));
      demand(!(await page.content()).includes(OTHER_TEAM), 'the other team\'s name is on the page');
      demand(!JSON.stringify((await api('/v1/live', key)).json).includes(OTHER_TEAM), 'the other team\'s name is in the answer');
    }
    return JSON.stringify(teams);
  });
  await claim('requests can be filtered', async () => {
    await page.fill('#filter', 'no such thing');
    demand((await page.locator('#requests tr').count()) === 0, 'some are left');
    await page.fill('#filter', MODEL.slice(0, 5));
    demand((await page.locator('#requests tr').count()) === seen, 'some are missing');
    await page.fill('#filter', '');
  });
  await claim('the trace of a listed request opens, and Escape closes it', async () => {
    await page.locator('#requests tr .link').first().click();
    await page.waitForSelector('#trace-trail li');
    const trace = await page.textContent('#trace');
    for (const word of ['Queued', TEAM, MODEL]) demand(trace.includes(word), `no ${word} in it: ${trace}`);
    demand(!trace.includes('very long story'), 'it shows the prompt');
    await page.keyboard.press('Escape');
    demand(!(await page.isVisible('#trace')), 'it is still open');
  });
  await claim('axe finds no serious fault in the cloud', () => noFaults(page));
  await pause(now.theme === 'light' ? 20000 : 6000);  // so that the screenshot shows a line
  await page.evaluate(() => document.activeElement.blur());
  const pictured = { operator: 'cloud', team_lead: 'cloud-lead', finance: 'cloud-finance' }[seat];
  if (pictured) await picture(page, `${pictured}-${now.theme}`, { fullPage: true });
  for (const stop of stops) stop();
  await claim('ended requests disappear within seconds', () => page.waitForFunction(() => document.querySelectorAll('#requests tr').length === 0).then(() => ''));
  await claim('the page sends no requests while it is hidden', async () => {
    let asked = 0;
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { value: true, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await pause(1500);
    page.on('request', () => { ++asked; });
    await pause(3500);
    demand(asked === 0, `${asked} requests`);
    await page.evaluate(() => {
      delete document.hidden;
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await eventually(() => asked > 0, 'it does not continue');
  });
}

// ---- usage ----

async function walkUsage(page, seat, key) {
  await goTo(page, 'usage');
  await claim('usage is that of the API, for this key', async () => {
    const { json } = await api(`/v1/usage?since=${Math.floor(Date.now() / 1000) - 86400}`, key);
    const sum = (name) => json.data.reduce((total, one) => total + one[name], 0);
    demand(sum('requests') > 0, 'nothing was used');
    const cells = await eventually(async () => {
      const first = await page.$$eval('#usage-models tr', (rows) => rows.map((tr) => [...tr.cells].map((cell) => cell.textContent))).catch(() => []);
      return first.length > 0 && first[0];
    }, 'no row');
    const shown = cells.slice(1, 5).map((text) => Number(text.replaceAll(',', '')));
    const booked = ['requests', 'input_tokens', 'cached_input_tokens', 'output_tokens'].map(sum);
    demand(JSON.stringify(shown) === JSON.stringify(booked), `shows ${shown}, the API says ${booked}`);
    return `${cells[0]}: ${shown}`;
  });
  await claim(seesAll(seat) ? 'usage by team' : seat === 'team_lead' ? 'usage by key of the team' : 'only its own usage', async () => {
    const parts = await page.$$eval('#usage-parts tr', (rows) => rows.map((tr) => tr.cells[0].textContent));
    const text = await page.textContent('#view-usage');
    if (seesAll(seat)) demand(parts.includes(TEAM) && parts.includes(OTHER_TEAM), parts.join());
    else demand(!text.includes(OTHER_TEAM), 'another team is named');
    if (seat === 'team_lead') demand(parts.length > 1, parts.join());
    if (seat === 'developer') demand(!(await page.isVisible('#usage-parts-box')), 'parts are shown');
    return parts.join();
  });
  await claim('the keyboard changes periods', async () => {
    await page.focus('#periods input:checked');
    await page.keyboard.press('ArrowRight');
    await page.waitForFunction(() => document.getElementById('chart-title').textContent.includes('by day'));
    await page.keyboard.press('ArrowLeft');
    await page.waitForFunction(() => document.getElementById('chart-title').textContent.includes('by hour'));
  });
  await claim('axe finds no serious fault in the usage', () => noFaults(page));
  await page.evaluate(() => document.activeElement.blur());
  if (seesAll(seat)) await picture(page, `usage-${seat === 'finance' ? 'finance-' : ''}${now.theme}`, { fullPage: true });
}

// ---- keyboard and structure ----

async function walkKeyboard(page, seat) {
  await claim('the first Tab leads to a link that skips to the content', async () => {
    await goTo(page, 'usage');
    await page.reload();
    await page.waitForSelector('#view-usage:visible');
    await page.keyboard.press('Tab');
    demand(await page.evaluate(() => document.activeElement.id === 'skip'), 'it does not');
    await page.keyboard.press('Enter');
    demand(await page.evaluate(() => document.activeElement.id === 'main'), 'it does not skip');
  });
  await claim('every tab stop is visible', async () => {
    const unseen = [], stops = new Set();
    for (const view of viewsOf(seat).reverse()) {
      await goTo(page, view);
      for (let i = 0; i < 20; ++i) {
        await page.keyboard.press('Tab');
        const stop = await page.evaluate(() => {
          const { activeElement } = document;
          if (activeElement === document.body) return null;  // all elements were visited
          const label = activeElement.id || activeElement.name || activeElement.textContent.trim().slice(0, 20);
          // The message field's focus ring is drawn around its whole box, a period's around its text.
          const seen = activeElement.matches('.segments input') ? activeElement.nextElementSibling : activeElement;
          const style = getComputedStyle(seen), box = getComputedStyle(activeElement.closest('.composer')?.querySelector('.composer-row') ?? seen);
          return { label, seen: (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2) || (activeElement.id === 'draft' && box.boxShadow !== 'none') };
        });
        if (stop === null) continue;
        stops.add(stop.label);
        if (!stop.seen) unseen.push(stop.label);
      }
    }
    demand(unseen.length === 0 && stops.size > (seat === 'finance' ? 7 : 12), `without a ring: ${unseen.join()} of ${[...stops].join()}`);
    return [...stops].join();
  });
  await claim('a view\'s heading gets the focus when the user opens it', async () => {
    await goTo(page, 'usage');
    await page.focus('.views a[href="#/cloud"]');
    await page.keyboard.press('Enter');
    await eventually(() => page.evaluate(() => document.activeElement.id === 'cloud-title'), 'it does not');
  });
  await claim('landmarks: a banner, a main, named navigation; one visible first heading a view', async () => {
    for (const view of viewsOf(seat)) {
      await goTo(page, view);
      demand((await page.getByRole('main').count()) === 1 && (await page.getByRole('banner').count()) === 1, 'landmarks');
      demand((await page.getByRole('navigation', { name: 'Console' }).count()) === 1, 'navigation');
      demand((await page.getByRole('heading', { level: 1 }).count()) === 1, `headings of ${view}`);
    }
  });
}

async function walkTheme(page) {
  await claim('the theme is the system\'s until the user chooses one, and the choice is kept', async () => {
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    demand((await theme()) === now.theme, await theme());
    await page.click('#theme');
    demand((await theme()) === 'light', await theme());
    await page.click('#theme');
    demand((await theme()) === 'dark', await theme());
    await page.reload();
    await page.waitForSelector('#bar:visible');
    demand((await theme()) === 'dark', 'forgotten');
    await page.click('#theme');
    demand((await theme()) === now.theme, await theme());
  });
}

async function walkSignOut(page) {
  await claim('signing out forgets the key and the conversation', async () => {
    await page.click('#sign-out');
    await page.waitForSelector('#view-signin:visible');
    demand(await page.evaluate(() => sessionStorage.getItem('penstock.key') === null && localStorage.getItem('penstock.key') === null), 'the key is still there');
    demand((await page.locator('#turns > li').count()) === 0, 'the conversation is still there');
  });
}

// ---- a phone ----

async function walkPhone(browser) {
  now = { seat: 'developer', theme: 'light' };
  const { context, page, faults } = await openPage(browser, { width: 390, height: 780 });
  await signIn(page, KEYS.developer);
  await page.waitForFunction(() => !document.getElementById('send').disabled);
  await claim('on a phone nothing is wider than the screen', async () => {
    for (const view of ['chat', 'cloud', 'usage']) {
      await goTo(page, view);
      await pause(700);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      demand(width <= 390, `${view} is ${width} wide`);
      await noFaults(page);
    }
  });
  await claim('on a phone the settings cover the chat and close again', async () => {
    await goTo(page, 'chat');
    demand(!(await page.isVisible('#panel')), 'open from the start');
    await page.click('#panel-toggle');
    await set(page, { 'max-tokens': '160', temperature: '0' });
    await noFaults(page);
    await page.click('#panel-close');
    demand(!(await page.isVisible('#panel')), 'it stays open');
    await page.press('#panel-toggle', 'Enter');
    await page.keyboard.press('Escape');
    demand(!(await page.isVisible('#panel')), 'Escape does not close it');
    demand(await page.evaluate(() => document.activeElement.id === 'panel-toggle'), 'the focus is lost');
    await page.fill('#draft', 'Write a Python function that reverses a string.');
    await page.click('#send');
    await page.waitForSelector('#stop:visible');
    await idle(page);
  });
  await picture(page, 'phone-chat-light');
  await goTo(page, 'cloud');
  await pause(1500);
  await picture(page, 'phone-cloud-light');
  await claim('no script errors and no policy violations', () => demand(faults.length === 0, faults.join('; ')));
  await context.close();
}

// ---- all of it ----

async function walk(browser, seat, theme) {
  now = { seat, theme };
  const { context, page, faults } = await openPage(browser, { theme });
  const key = KEYS[seat];
  try {
    await walkSignIn(page, seat);
    if (viewsOf(seat).includes('chat')) {
      await walkChat(page, seat, key);
      await walkErrors(page, seat);
    } else {
      await walkWithoutChat(page, key);
    }
    await walkLoss(page);
    await walkCloud(page, seat, key);
    await walkUsage(page, seat, key);
    await walkKeyboard(page, seat);
    await walkTheme(page);
    await walkSignOut(page);
  } catch (error) {
    row({ part: 'walk', ...now, check: 'walked to its end', ok: false, detail: firstLine(error) });
  }
  const ours = faults.filter((fault) => !/ERR_INTERNET_DISCONNECTED/.test(fault));
  await claim('no script errors, no policy violations, and no requests to other servers', () => demand(ours.length === 0, ours.join('; ')));
  await context.close();
}

const browser = await launch();
if (PICTURES) {
  for (const theme of ['light', 'dark']) {
    const { context, page } = await openPage(browser, { theme });
    await page.goto(`${URL_}/`);
    await picture(page, `signin-${theme}`);
    await context.close();
  }
}
for (const theme of ['light', 'dark']) {
  for (const seat of Object.keys(ROLES)) await walk(browser, seat, theme);
}
await walkPhone(browser);
await browser.close();
