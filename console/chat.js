// The chat: one conversation, kept only in this page.
import { $, h, copy, keyed, setHidden, setText, tabs } from './dom.js';
import * as api from './api.js';
import { count, duration, rate } from './format.js';
import { render } from './markdown.js';
import { snippets } from './snippets.js';
import { openTrace } from './trace.js';

let turns = [];         // {id, role, content, …}: an answer also has its model, its statistics and perhaps an error
let answering = null;   // {turn, controller}
let language = 'curl';
let lastId = 0;
let onUnauthorised = () => {};

// ---- the request ----

const number = (id) => ($(id).value.trim() === '' ? undefined : Number($(id).value));

function messages(until) {
  const system = $('system').value.trim();
  const sent = turns.slice(0, until).filter((turn) => turn.content !== '');
  return [...(system ? [{ role: 'system', content: system }] : []), ...sent.map(({ role, content }) => ({ role, content }))];
}

function requestBody(asked) {
  const body = { model: $('model').value, messages: asked };
  const settings = { temperature: number('temperature'), max_tokens: number('max-tokens'), seed: number('seed') };
  for (const [name, value] of Object.entries(settings)) if (value !== undefined) body[name] = value;
  return body;
}

// ---- a turn on the screen ----

function makeTurn(turn) {
  const body = h('div', { class: 'body' });
  const node = h('li', { class: `turn ${turn.role}` }, h('h2', { class: turn.role === 'user' ? 'sr' : 'who' },
    turn.role === 'user' ? 'You said' : turn.model), body);
  node.parts = { body };
  if (turn.role === 'user') {
    body.append(h('p', {}, turn.content));
    node.parts.actions = h('p', { class: 'actions' },
      h('button', { type: 'button', class: 'quiet', onclick: () => edit(turn) }, 'Edit'),
      h('button', { type: 'button', class: 'quiet', onclick: (event) => copy(event.currentTarget, turn.content) }, 'Copy'));
    node.append(node.parts.actions);
    return node;
  }
  const parts = node.parts;
  parts.thoughts = h('div', { class: 'body' });
  parts.thinking = h('details', { class: 'thinking', hidden: true }, h('summary', {}, 'Reasoning'), parts.thoughts);
  node.insertBefore(parts.thinking, body);
  parts.note = h('p', { class: 'note', hidden: true });
  parts.error = h('div', { class: 'error', role: 'alert', hidden: true });
  parts.facts = h('dl', { class: 'facts' });
  parts.actions = h('p', { class: 'actions' },
    h('button', { type: 'button', class: 'quiet', onclick: (event) => copy(event.currentTarget, turn.content) }, 'Copy'),
    h('button', { type: 'button', class: 'quiet again', onclick: () => regenerate(turn) }, 'Regenerate'),
    h('button', { type: 'button', class: 'quiet happened', onclick: () => openTrace(turn.requestId) }, 'Request trace'));
  parts.foot = h('div', { class: 'foot' }, parts.facts, parts.actions);
  node.append(parts.note, parts.error, parts.foot);
  return node;
}

const FACTS = [
  ['first', 'Time to first token', (turn) => turn.firstMs !== undefined && duration(turn.firstMs)],
  ['rate', 'Tokens per second', (turn) => turn.perSecond !== undefined && rate(turn.perSecond)],
  ['in', 'Input', (turn) => turn.usage && count(turn.usage.prompt_tokens)],
  ['cached', 'Cached', (turn) => turn.usage?.prompt_tokens_details?.cached_tokens && count(turn.usage.prompt_tokens_details.cached_tokens)],
  ['out', 'Output', (turn) => (turn.usage ? count(turn.usage.completion_tokens) : turn.pieces > 0 && count(turn.pieces))],
  ['id', 'Request', (turn) => turn.requestId],
];

function updateTurn(node, turn) {
  const last = turns.at(-1) === turn, busy = answering?.turn === turn, { parts } = node;
  if (turn.role === 'user') {
    setHidden(parts.actions, answering !== null || turns.findLast((other) => other.role === 'user') !== turn);
    return;
  }
  if (turn.reasoning) {
    setHidden(parts.thinking, false);
    if (busy && turn.content === '') parts.thinking.open = true;
    render(parts.thoughts, turn.reasoning);
  }
  render(parts.body, turn.content);
  node.classList.toggle('busy', busy);
  setText(parts.note, noteOf(turn, busy));
  setHidden(parts.note, parts.note.textContent === '');
  updateError(parts.error, turn);
  const facts = FACTS.map(([key, name, value]) => ({ key, name, value: value(turn) })).filter((fact) => fact.value);
  keyed(parts.facts, facts, (fact) => fact.key,
    (fact) => h('div', { class: fact.key }, h('dt', {}, fact.name), h('dd', {}, '')),
    (fact, { value }) => setText(fact.lastChild, value));
  setHidden(parts.actions, busy);
  const [copyButton, again, happened] = parts.actions.children;
  setHidden(copyButton, turn.content === '');
  setHidden(again, !last || turn.error !== undefined);
  setHidden(happened, !turn.requestId?.startsWith('req_'));
}

function noteOf(turn, busy) {
  if (busy && turn.content === '' && !turn.reasoning) return turn.note ?? 'Waiting for the first token';
  if (turn.stopped) return 'Stopped. The part that was received is kept.';
  if (turn.finish === 'length') return 'Stopped at the token limit. Raise “Max tokens” for a longer answer.';
  return '';
}

// The server's message, and a button to try again or to sign in.
function updateError(node, turn) {
  setHidden(node, turn.error === undefined);
  if (turn.error === undefined || node.shows === turn.error) return;
  node.shows = turn.error;
  const { message, status, code, retryAfter } = turn.error;
  const labels = [status > 0 && status !== 200 && `Status ${status}`, code, retryAfter > 0 && `try again in ${retryAfter} s`];
  node.replaceChildren(h('p', {}, message),
    h('p', { class: 'aside' }, labels.filter(Boolean).join(' · ')),
    h('p', { class: 'actions' }, status === 401
      ? h('button', { type: 'button', onclick: () => onUnauthorised(turn.error) }, 'Sign in again')
      : h('button', { type: 'button', onclick: () => regenerate(turn) }, 'Try again')));
}

function show() {
  keyed($('turns'), turns, (turn) => turn.id, makeTurn, updateTurn);
  setHidden($('chat-empty'), turns.length > 0);
  setHidden($('turns'), turns.length === 0);
  setHidden($('send'), answering !== null);
  setHidden($('stop'), answering === null);
  showCode();
}

// Keeps the end in view, unless the user has scrolled up.
function following(change) {
  const thread = $('thread');
  const follows = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 80;
  change();
  if (follows) thread.scrollTop = thread.scrollHeight;
}

// Updates at most once per frame, however fast tokens arrive.
let framed = false;
function showSoon(turn) {
  if (framed) return;
  framed = true;
  requestAnimationFrame(() => {
    framed = false;
    const node = $('turns').lastElementChild;
    following(() => { if (turns.at(-1) === turn && node) updateTurn(node, turn); });
  });
}

const announce = (text) => { $('announce').textContent = text; };

// ---- sending ----

function send() {
  const draft = $('draft');
  const text = draft.value.trim();
  if (text === '' || answering || $('send').disabled) return;
  turns.push({ id: ++lastId, role: 'user', content: text });
  draft.value = '';
  grow(draft);
  answer();
}

function regenerate(turn) {
  if (answering) return;
  turns = turns.slice(0, turns.indexOf(turn));
  $('draft').focus();
  answer();
}

function edit(turn) {
  if (answering) return;
  turns = turns.slice(0, turns.indexOf(turn));
  $('draft').value = turn.content;
  grow($('draft'));
  show();
  $('draft').focus();
}

async function answer() {
  const body = { ...requestBody(messages(turns.length)), stream: true, stream_options: { include_usage: true } };
  const turn = { id: ++lastId, role: 'assistant', content: '', reasoning: '', model: body.model, pieces: 0 };
  turns.push(turn);
  const controller = new AbortController();
  answering = { turn, controller };
  show();
  $('thread').scrollTop = $('thread').scrollHeight;
  announce(`${turn.model} is answering.`);
  try {
    await stream(turn, body, controller.signal);
  } catch (error) {
    if (error.name === 'AbortError') turn.stopped = true;
    else turn.error = error instanceof api.ApiError ? error : new api.ApiError(String(error));
    turn.requestId ??= error.requestId;
  }
  answering = null;
  following(show);
  announceAnswer(turn);
  if (!turn.usage && turn.requestId?.startsWith('req_')) await learnUsage(turn);
}

async function stream(turn, body, signal) {
  const began = performance.now();
  let last = began;
  await api.streamChat(body, {
    signal,
    opened: (id) => { turn.requestId = id; },
    note: (text) => {
      turn.note = text.charAt(0).toUpperCase() + text.slice(1);
      showSoon(turn);
    },
    chunk: (event) => {
      const choice = event.choices[0];
      if (event.usage) turn.usage = event.usage;
      if (choice?.finish_reason) turn.finish = choice.finish_reason;
      const text = choice?.delta?.content ?? '', thought = choice?.delta?.reasoning_content ?? '';
      if (text || thought) {
        last = performance.now();
        turn.firstMs ??= last - began;
        turn.content += text;
        turn.reasoning += thought;
        ++turn.pieces;
      }
      // One event is about one token until the usage says how many there were.
      const tokens = turn.usage?.completion_tokens ?? turn.pieces;
      const since = last - began - turn.firstMs;
      if (tokens > 1 && since > 0) turn.perSecond = ((tokens - 1) * 1000) / since;
      showSoon(turn);
    },
  });
}

function announceAnswer(turn) {
  if (turn.error) return;  // an error is announced as an alert
  const text = $('turns').lastElementChild?.querySelector(':scope > .body:not(.thinking .body)')?.textContent ?? '';
  announce(turn.stopped ? 'Stopped.' : text.slice(0, 2000));
}

// A stream that was stopped ends without its usage; the request's record has it.
async function learnUsage(turn) {
  for (let attempt = 0; attempt < 5; ++attempt) {
    try {
      const record = await api.get(`/v1/requests/${turn.requestId}`);
      if (record.state === 'ended') {
        turn.usage = record.usage;
        following(show);
        return;
      }
    } catch {
      return;  // the request was refused, so there is no record
    }
    await new Promise((done) => setTimeout(done, 300));
  }
}

// ---- code ----

function showCode() {
  if ($('pane-code').hidden || $('view-chat').hidden) return;
  const draft = $('draft').value.trim();
  let asked, what;
  if (draft) {
    asked = [...messages(turns.length), { role: 'user', content: draft }];
    what = 'The request that “Send” would make now.';
  } else if (turns.length > 0) {
    asked = messages(turns.findLastIndex((turn) => turn.role === 'user') + 1);
    what = 'The request of the last answer.';
  } else {
    asked = [...messages(0), { role: 'user', content: 'Hello' }];
    what = 'An example. Write a message to see its code.';
  }
  setText($('code-what'), what);
  setText($('code-text'), snippets(location.origin, requestBody(asked))[language]);
}

// ---- models ----

// Which models the list shows and which one is selected. Only the user changes a selection: a selected model that is
// not ready, or no longer listed, stays selected and is shown as such. The first ready model is only the start.
export function selection(models, chosen) {
  const gone = chosen !== '' && !models.some((model) => model.name === chosen);
  const listed = gone ? [...models, { name: chosen, state: 'not available' }] : models;
  const name = chosen || (models.find((model) => model.state === 'ready')?.name ?? '');
  return { listed, name, model: listed.find((model) => model.name === name) };
}

// What is said below the list: why nothing can be sent, or the context of the selected model.
export function modelNote(model, reason) {
  if (!model) return `No model is ready: ${reason || 'a model is being loaded'}.`;
  if (model.state !== 'ready') return `${model.name} is not ready (${model.state}). Wait, or select another model.`;
  return model.context ? `Context: ${count(model.context)} tokens.` : '';
}

let shown = { models: [], reason: '' };

// Called with each snapshot of the pool.
export function showModels(models, reason) {
  shown = { models, reason };
  const select = $('model');
  const chosen = select.value;
  const { listed, name } = selection(models, chosen);
  keyed(select, listed, (model) => model.name, (model) => h('option', { value: model.name }),
    (option, model) => {
      setText(option, model.state === 'ready' ? model.name : `${model.name} (${model.state})`);
      option.disabled = model.state !== 'ready';
    });
  if (select.value !== name) select.value = name;
  showSelected();
  if (name !== chosen) showCode();
}

function showSelected() {
  const { model } = selection(shown.models, $('model').value);
  setText($('model-note'), modelNote(model, shown.reason));
  $('send').disabled = model?.state !== 'ready';
  setText($('empty-title'), model ? `Ask ${model.name}` : 'No model is ready yet');
}

// ---- wiring ----

function grow(area) {
  area.style.height = 'auto';
  area.style.height = `${Math.min(area.scrollHeight, 240)}px`;
}

function togglePanel(open) {
  $('panel').hidden = !open;
  $('panel-toggle').setAttribute('aria-expanded', open);
  $('view-chat').classList.toggle('with-panel', open);
  showCode();
}

// On small screens the panel covers the chat.
const overTheChat = () => matchMedia('(max-width: 64rem)').matches;

function closePanel() {
  togglePanel(false);
  $('panel-toggle').focus();
}

export function stop() {
  answering?.controller.abort();
}

export function startChat(unauthorised) {
  onUnauthorised = unauthorised;
  const draft = $('draft');
  $('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    send();
  });
  draft.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  draft.addEventListener('input', () => {
    grow(draft);
    showCode();
  });
  addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || $('trace').open || $('view-chat').hidden) return;
    if (overTheChat() && !$('panel').hidden) closePanel();
    else if (answering) stop();
  });
  $('stop').addEventListener('click', () => {
    stop();
    draft.focus();
  });
  $('new-chat').addEventListener('click', () => {
    stop();
    turns = [];
    show();
    draft.focus();
  });
  for (const idea of $('ideas').querySelectorAll('button')) {
    idea.addEventListener('click', () => {
      draft.value = idea.textContent;
      grow(draft);
      draft.focus();
      send();
    });
  }
  for (const id of ['model', 'system', 'temperature', 'max-tokens', 'seed']) {
    $(id).addEventListener('input', () => {
      showCode();
      showSelected();
    });
  }
  $('panel-toggle').addEventListener('click', () => {
    togglePanel($('panel').hidden);
    if (overTheChat() && !$('panel').hidden) $('panel-close').focus();
  });
  $('panel-close').addEventListener('click', closePanel);
  tabs($('panel-tabs'), showCode);
  tabs($('code-tabs'), (tab) => {
    language = tab.dataset.language;
    showCode();
  });
  $('copy-code').addEventListener('click', (event) => copy(event.currentTarget, $('code-text').textContent));
  togglePanel(!overTheChat());
  show();
}
