// The console: sign-in, navigation between views, and the state of the pool in the header.
import { $, reachWhatScrolls, setAttribute, setHidden, setText, svg } from './dom.js';
import * as api from './api.js';
import { count, rate, roleName } from './format.js';
import { showModels, startChat, stop } from './chat.js';
import { listed, showCloud, startCloud } from './cloud.js';
import { startTrace } from './trace.js';
import { loadUsage, startUsage } from './usage.js';

const VIEWS = { chat: 'Chat', cloud: 'Cloud', usage: 'Usage' };
const NEEDS = { chat: 'models.use', usage: 'usage.read' };  // what the key must be allowed to do
const EVERY_MS = 1000, ELSEWHERE_MS = 5000, LOST_MS = 3000;

let view = null;  // null: signed out
let views = [];   // those that this key may see

// ---- views ----

function go(moveFocus) {
  const asked = location.hash.replace(/^#\//, '');
  view = views.includes(asked) ? asked : views[0];
  for (const name of [...Object.keys(VIEWS), 'signin']) setHidden($(`view-${name}`), name !== view);
  for (const link of document.querySelectorAll('.views a')) {
    const name = link.getAttribute('href').slice(2);
    setHidden(link, !views.includes(name));
    setAttribute(link, 'aria-current', name === view ? 'page' : null);
  }
  document.title = `${VIEWS[view]} · Penstock`;
  if (view === 'usage') loadUsage();
  if (view === 'chat') $('draft').focus();
  else if (moveFocus) $(`${view}-title`).focus();
  if (view !== 'chat') scrollTo(0, 0);
  pollNow();
}

// ---- the state of the pool ----

const PULSE_S = 4;  // the header's figures change at most this often: users must read them, and layout takes time
let pulsed = 0;

let timer = null;
let polling = false, again = false;  // again: another poll was requested while one was running

// Polls once a second in the cloud view, less often in other views, and never while the page is hidden.
async function poll() {
  if (view === null || document.hidden) return;
  if (polling) {
    again = true;
    return;
  }
  polling = true;
  again = false;
  let next = view === 'cloud' ? EVERY_MS : ELSEWHERE_MS;
  const began = performance.now();
  try {
    const snapshot = await api.get(`/v1/live?requests=${view === 'cloud' ? listed() : 0}`);
    if (view !== null) show(snapshot);
    banner('');
  } catch (error) {
    if (error.status === 401) signOut(error.message);
    else banner(error instanceof api.ApiError ? `${error.message} Trying again.` : `This page has an error: ${error.message}. Reload it.`);
    next = LOST_MS;
  }
  polling = false;
  clearTimeout(timer);
  if (view !== null) timer = setTimeout(poll, again ? 0 : Math.max(100, next - (performance.now() - began)));
}

function pollNow() {
  clearTimeout(timer);
  poll();
}

function show(snapshot) {
  showModels(snapshot.models, snapshot.reason);
  if (view === 'cloud') showCloud(snapshot);
  if (snapshot.at - pulsed < PULSE_S && snapshot.ready) return;
  pulsed = snapshot.at;
  const { pool } = snapshot;
  const waiting = pool.waiting > 0 ? ` · ${count(pool.waiting)} waiting` : '';
  setText($('pulse-text'), snapshot.ready ? `${rate(pool.tokens_per_second)} tokens/s · ${count(pool.running)} running${waiting}` : 'Not ready');
  setAttribute($('pulse-dot'), 'data-tone', snapshot.ready ? 'good' : 'wait');
  setAttribute($('pulse'), 'title', snapshot.ready ? 'State of the pool' : snapshot.reason);
}

function banner(text) {
  if (text !== '') pulsed = 0;
  setText($('banner'), text);
  setHidden($('banner'), text === '');
  if (text === '') return;
  setAttribute($('pulse-dot'), 'data-tone', 'bad');
  setText($('pulse-text'), 'No connection');  // the figures of the last snapshot are no longer true
}

// ---- signing in and out ----

// `moveFocus`: the user has just signed in, and the field that had the focus is hidden.
async function enter(moveFocus) {
  const seat = await api.get('/v1/seat');
  views = Object.keys(VIEWS).filter((name) => !(name in NEEDS) || seat.may.includes(NEEDS[name]));
  setHidden($('view-signin'), true);
  setHidden($('bar'), false);
  setText($('seat-team'), seat.team || 'all teams');
  setText($('seat-role'), roleName(seat.role));
  startChat((error) => signOut(error.message));
  startCloud(seat, pollNow);
  startUsage(seat);
  addEventListener('hashchange', () => go(true));
  document.addEventListener('visibilitychange', () => { if (!document.hidden) pollNow(); });
  go(moveFocus);
}

function askForKey(error) {
  setHidden($('view-signin'), false);
  setText($('key-error'), error);
  setHidden($('key-error'), error === '');
  setAttribute($('key'), 'aria-invalid', error === '' ? null : 'true');
  document.title = 'Sign in · Penstock';
  $('key').focus();
}

// Reloads the page, so that nothing of the user who signs out remains.
function signOut(why) {
  stop();
  view = null;
  api.forgetKey();
  try {
    if (why) sessionStorage.setItem('penstock.why', why);
  } catch { /* then no reason is shown */ }
  location.replace(location.pathname);
}

function reasonForSignOut() {
  try {
    const why = sessionStorage.getItem('penstock.why') ?? '';
    sessionStorage.removeItem('penstock.why');
    return why;
  } catch {
    return '';
  }
}

async function signIn(event) {
  event.preventDefault();
  const secret = $('key').value.trim();
  if (secret === '') return askForKey('Paste your key first.');
  if (!/^[\x21-\x7e]+$/.test(secret)) return askForKey('This is not a key: it contains invalid characters.');
  $('signin-go').disabled = true;
  api.useKey(secret);
  try {
    await enter(true);
    api.keepKey(secret, $('keep').checked);
  } catch (error) {
    askForKey(error.message);
  }
  $('signin-go').disabled = false;
}

// ---- theme ----

const THEMES = { auto: 'as the system', light: 'light', dark: 'dark' };
const ICONS = {
  auto: 'M10 3a7 7 0 1 0 0 14a7 7 0 1 0 0-14M10 3v14',
  light: 'M10 6.5a3.5 3.5 0 1 0 0 7a3.5 3.5 0 1 0 0-7M10 1.5v2M10 16.5v2M1.5 10h2M16.5 10h2M4 4l1.4 1.4M14.6 14.6L16 16M16 4l-1.4 1.4M5.4 14.6L4 16',
  dark: 'M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3z',
};

function showTheme() {
  const choice = document.documentElement.dataset.choice;
  setAttribute($('theme'), 'aria-label', `Theme: ${THEMES[choice]}`);
  setAttribute($('theme'), 'title', `Theme: ${THEMES[choice]}`);
  $('theme').replaceChildren(svg('svg', { viewBox: '0 0 20 20', class: 'icon', 'aria-hidden': 'true' }, svg('path', { d: ICONS[choice] })));
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const choice = names[(names.indexOf(document.documentElement.dataset.choice) + 1) % names.length];
  dispatchEvent(new CustomEvent('penstock-theme', { detail: choice }));
  showTheme();
}

// ---- start ----

$('theme').addEventListener('click', nextTheme);
$('sign-out').addEventListener('click', () => signOut(''));
$('signin').addEventListener('submit', signIn);
$('skip').addEventListener('click', (event) => {
  event.preventDefault();
  $('main').focus();
});
showTheme();
startTrace();
reachWhatScrolls(document.querySelectorAll('.scroll'));

const kept = api.storedKey();
if (kept) {
  api.useKey(kept);
  enter(false).catch((error) => (error.status === 401 ? signOut(error.message) : askForKey(error.message)));
} else {
  askForKey(reasonForSignOut());
}
