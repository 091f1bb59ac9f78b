// The cloud view: models, engines, teams and requests from snapshots of GET /v1/live.
import { $, h, keyed, setAttribute, setHidden, setText, svg } from './dom.js';
import { age, bytes, count, plural, rate } from './format.js';
import { openTrace } from './trace.js';

const ROWS = 20;          // requests on one page
const MOST = 500;         // requests that a snapshot lists at most
const SPARK_MS = 60000;   // the time that the line shows
const SPARK = { width: 240, height: 36 };

let page = 0;
let latest = null;
let turn = 0, made = 0;  // a row's figures change only with every second snapshot, because drawing them takes time
let whose = '';  // whose requests are listed: "yours"; empty: everyone's

// ---- parts ----

// A row of cells, with references to their text nodes. A number has its own box, so that a change does not need
// a new layout of the table.
function row(columns, ...extra) {
  const node = h('tr');
  node.cells_ = columns.map((name, i) => {
    const cell = h(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row', class: name } : { class: name }, '');
    node.append(cell);
    if (name !== 'number') return cell;
    const box = h('span', { class: 'box' }, '');
    cell.replaceChildren(box);
    return box;
  });
  node.append(...extra);
  return node;
}

function fill(node, texts) {
  texts.forEach((text, i) => setText(node.cells_[i], text));
}

const STATES = { ready: 'good', up: 'good', running: 'good', loading: 'wait', waiting: 'wait', paused: 'wait', failed: 'bad', down: 'bad', quarantined: 'bad', proving: 'wait', recovering: 'wait', draining: 'wait', unloaded: 'off' };

function badge() {
  return h('span', { class: 'badge' }, '');
}
function setBadge(node, state) {
  setText(node, state);
  setAttribute(node, 'data-tone', STATES[state] ?? 'off');
}

// A bar for a part of a whole. `text` is its value for screen readers.
function meter(label) {
  const part = h('span', { class: 'part' });
  const node = h('div', { class: 'meter', role: 'meter', 'aria-label': label, 'aria-valuemin': 0 }, part);
  node.filled = part;
  return node;
}
function setMeter(node, value, total, text) {
  setAttribute(node, 'aria-valuemax', total);
  setAttribute(node, 'aria-valuenow', Math.min(value, total));
  setAttribute(node, 'aria-valuetext', text);
  const width = total > 0 ? `${Math.min(100, (value * 100) / total).toFixed(1)}%` : '0%';
  if (node.filled.style.width !== width) node.filled.style.width = width;
}

// ---- models ----

// Each model with its memory on the engines that have it.
function modelRows(snapshot) {
  return snapshot.models.map((model) => {
    const places = snapshot.engines.flatMap((engine) => engine.models.filter((m) => m.name === model.name).map((m) => ({ ...m, engine: engine.name })));
    const sum = (field) => places.reduce((total, place) => total + place[field], 0);
    return { ...model, weights: sum('weight_bytes'), kv: sum('kv_bytes'), on: places.map((place) => place.engine).join(', '),
      error: places.find((place) => place.error)?.error ?? '' };
  });
}

function showModels(snapshot) {
  const rows = modelRows(snapshot);
  keyed($('models'), rows, (model) => model.name,
    () => {
      const node = row(['name', 'state', 'number', 'number', 'number', '']);
      node.badge = badge();
      node.why = h('span', { class: 'aside' }, '');
      node.cells_[1].replaceChildren(node.badge, node.why);
      return node;
    },
    (node, model) => {
      const [name, , context, weights, kv, on] = node.cells_;
      setText(name, model.name);
      setBadge(node.badge, model.state);
      setText(node.why, model.error ? ` ${model.error}` : '');
      setText(context, model.context ? count(model.context) : '–');
      setText(weights, model.weights ? bytes(model.weights) : '–');
      setText(kv, model.kv ? bytes(model.kv) : '–');
      setText(on, model.on || '–');
    });
  setHidden($('models-none'), rows.length > 0);
}

// ---- engines ----

function makeEngine() {
  const part = { name: h('h3', {}, ''), badge: badge(), chip: h('p', { class: 'aside' }, ''), why: h('p', { class: 'aside' }, ''), memory: meter('Memory'),
    memoryText: h('dd', {}, ''), kv: meter('KV pages'), kvText: h('dd', {}, ''), load: h('dd', {}, '') };
  const node = h('li', { class: 'card' }, h('div', { class: 'heading' }, part.name, part.badge), part.chip, part.why,
    h('dl', { class: 'levels' },
      h('div', {}, h('dt', {}, 'Memory'), part.memoryText), h('div', {}, h('dt', {}, 'KV pages'), part.kvText),
      h('div', {}, h('dt', {}, 'Sequences'), part.load)));
  part.memoryText.parentNode.append(h('dd', { class: 'bar-box' }, part.memory));
  part.kvText.parentNode.append(h('dd', { class: 'bar-box' }, part.kv));
  node.parts = part;
  return node;
}

function updateEngine({ parts: part }, engine) {
  setText(part.name, engine.name);
  setBadge(part.badge, engine.state);
  setText(part.chip, [engine.chip, engine.kernel, engine.runner === 'native' ? '' : `${engine.runner} runner`].filter(Boolean).join(' · '));
  setText(part.why, engine.state === 'up' ? '' : engine.why ?? '');
  const memory = `${bytes(engine.memory.used_bytes)} of ${bytes(engine.memory.total_bytes)}`;
  setText(part.memoryText, memory);
  setMeter(part.memory, engine.memory.used_bytes, engine.memory.total_bytes, memory);
  const { used, cached, total } = engine.kv_pages;
  const kv = `${count(used)} of ${count(total)} in use, ${count(cached)} cached`;
  setText(part.kvText, kv);
  setMeter(part.kv, used, total, kv);
  setText(part.load, `${count(engine.running)} running, ${count(engine.waiting)} waiting`);
}

// ---- teams ----

function showTeams(snapshot) {
  const rows = [...snapshot.teams];
  if (snapshot.other_teams) rows.push({ team: 'All other teams', others: true, ...snapshot.other_teams });
  const most = Math.max(1, ...rows.map((team) => team.running + team.waiting));
  keyed($('teams'), rows, (team) => (team.others ? '\0' : team.team),
    () => {
      const bar = h('span', { class: 'stack', 'aria-hidden': 'true' }, h('span', { class: 'run' }), h('span', { class: 'queue' }));
      const node = row(['', 'number', 'number'], h('td', { class: 'bar-cell' }, bar));
      node.bar = bar;
      return node;
    },
    (node, team) => {
      fill(node, [team.team, count(team.running), count(team.waiting)]);
      [team.running, team.waiting].forEach((n, i) => {
        const width = `${((n * 100) / most).toFixed(1)}%`;
        if (node.bar.children[i].style.width !== width) node.bar.children[i].style.width = width;
      });
    });
  setHidden($('teams-none'), rows.length > 0);
}

// ---- requests ----

const fits = (request, wanted) => wanted === ''
  || `${request.id} ${request.model} ${request.team} ${request.state}`.toLowerCase().includes(wanted);

const wanted = () => $('filter').value.trim().toLowerCase();

// How many requests the next snapshot must list: up to the page that is shown; with a filter, all.
export const listed = () => (wanted() === '' ? Math.min(MOST, (page + 1) * ROWS) : MOST);

function showRequests(snapshot) {
  turn = 1 - turn;
  const { data, total } = snapshot.requests;
  const found = data.filter((request) => fits(request, wanted()));
  const number = wanted() === '' ? Math.min(total, MOST) : found.length;
  const pages = Math.max(1, Math.ceil(number / ROWS));
  page = Math.min(page, pages - 1);
  keyed($('requests'), found.slice(page * ROWS, (page + 1) * ROWS), (request) => request.id,
    (request) => {
      const node = row(['id', '', '', '', 'number', 'number', 'number']);
      node.cells_[0].replaceChildren(h('button', { type: 'button', class: 'link', onclick: () => openTrace(request.id) }, request.id));
      node.badge = badge();
      node.cells_[3].replaceChildren(node.badge);
      setText(node.cells_[1], request.model);
      setText(node.cells_[2], request.team);
      setText(node.cells_[4], count(request.prompt_tokens));
      node.turn = ++made % 2;
      return node;
    },
    (node, request) => {
      setBadge(node.badge, request.state);
      if (node.turn !== turn && node.cells_[5].textContent !== '') return;
      setText(node.cells_[5], count(request.tokens));
      setText(node.cells_[6], age(request.age_ms));
    });
  setText($('requests-none'), total === 0 ? 'No requests are running or waiting.' : number === 0 ? 'No request matches the filter.' : '');
  setHidden($('requests-none'), number > 0);
  setHidden($('pager'), pages < 2);
  const more = total > MOST ? `, the first ${count(MOST)} of ${count(total)}` : '';
  setText($('pager-text'), `${count(page * ROWS + 1)} to ${count(Math.min((page + 1) * ROWS, number))} of ${count(number)}${more}`);
  $('pager-back').disabled = page === 0;
  $('pager-on').disabled = page === pages - 1;
}

// ---- tokens per second ----

const samples = [];  // {at, rate}
let spark = null;

function makeSpark() {
  spark = { area: svg('path', { class: 'area' }), line: svg('path', { class: 'line' }) };
  $('spark').append(svg('svg', { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, spark.area, spark.line));
}

function showSpark(snapshot) {
  const now = snapshot.at * 1000;
  samples.push({ at: now, rate: snapshot.pool.tokens_per_second });
  while (samples.length > 0 && now - samples[0].at > SPARK_MS) samples.shift();
  if (!spark) makeSpark();
  const top = Math.max(1, ...samples.map((sample) => sample.rate)) * 1.1;
  const points = samples.map((sample) => `${(SPARK.width * (1 - (now - sample.at) / SPARK_MS)).toFixed(1)} ${(SPARK.height * (1 - sample.rate / top)).toFixed(1)}`);
  const path = `M${points.join('L')}`;
  spark.line.setAttribute('d', path);
  spark.area.setAttribute('d', `${path}L${SPARK.width} ${SPARK.height}L${points[0].split(' ')[0]} ${SPARK.height}Z`);
}

// ---- the whole view ----

function showTiles(snapshot) {
  const { pool, engines } = snapshot;
  setText($('tile-rate'), rate(pool.tokens_per_second));
  setText($('tile-computed'), pool.computed_per_second > 0 ? `${rate(pool.computed_per_second)} computed, including prompts` : '');
  setText($('tile-running'), count(pool.running));
  setText($('tile-waiting'), count(pool.waiting));
  const up = engines.filter((engine) => engine.state === 'up').length;
  setText($('tile-engines'), count(up));
  setText($('tile-engines-of'), up === engines.length ? 'all up' : `${count(engines.length - up)} down`);
  setText($('tile-running-of'), whose === '' ? `on ${plural(up, 'engine')}` : `${count(snapshot.requests.total)} ${whose}`);
  setText($('tile-waiting-of'), pool.waiting > 0 ? 'in the queue' : 'the queue is empty');
}

export function showCloud(snapshot) {
  latest = snapshot;
  showTiles(snapshot);
  showSpark(snapshot);
  showModels(snapshot);
  keyed($('engines'), snapshot.engines, (engine) => engine.name, makeEngine, updateEngine);
  setHidden($('engines-none'), snapshot.engines.length > 0);
  showTeams(snapshot);
  showRequests(snapshot);
}

// `ask`: requests a snapshot now.
export function startCloud(seat, ask) {
  const [words, owner] = {
    operator: ['The whole cloud, updated once a second.', ''],
    finance: ['The whole cloud, updated once a second.', ''],
    team_lead: [`The pool and the requests of ${seat.team}, updated once a second.`, 'of your team'],
  }[seat.role] ?? ['The pool and the requests of your key, updated once a second.', 'yours'];
  whose = owner;
  setText($('cloud-lead'), words);
  const turn = (by) => {
    page = Math.max(0, page + by);
    ask();
  };
  $('pager-back').addEventListener('click', () => turn(-1));
  $('pager-on').addEventListener('click', () => turn(1));
  $('filter').addEventListener('input', () => {
    turn(-page);
    if (latest) showRequests(latest);
  });
}
