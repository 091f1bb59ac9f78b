// The usage view: usage by model and kind of token, and by team or key if the user may see that.
import { $, h, keyed, setHidden, setText, svg } from './dom.js';
import * as api from './api.js';
import { compact, count, duration, plural } from './format.js';

const HOUR = 3600, DAY = 24 * HOUR;
const PERIODS = {
  day: { step: HOUR, steps: 24, words: 'the last 24 hours', each: 'hour' },
  week: { step: DAY, steps: 7, words: 'the last 7 days', each: 'day' },
  month: { step: DAY, steps: 30, words: 'the last 30 days', each: 'day' },
};
const SHOWN = ['requests', 'input_tokens', 'cached_input_tokens', 'output_tokens', 'chip_ms'];
const FIELDS = [...SHOWN, 'reported_tokens'];

let seat = null;
let asking = null;  // AbortController of the running request

const seesTeams = () => seat.role === 'operator' || seat.role === 'finance';

// Days begin at midnight in this browser's current time zone.
const zone = () => -60 * new Date().getTimezoneOffset();

function path(since, { each }) {
  return `/v1/usage?since=${since}&by=${each}&utc_offset=${zone()}${seat.role === 'team_lead' ? '&by_key=1' : ''}`;
}

// Rows with the same value of `field` summed, the largest first.
function sumBy(rows, field) {
  const sums = new Map();
  for (const row of rows) {
    const sum = sums.get(row[field]) ?? Object.fromEntries([['name', row[field]], ...FIELDS.map((name) => [name, 0])]);
    for (const name of FIELDS) sum[name] += row[name];
    sums.set(row[field], sum);
  }
  return [...sums.values()].sort((a, b) => b.output_tokens + b.input_tokens - a.output_tokens - a.input_tokens);
}

function total(rows) {
  return Object.fromEntries(FIELDS.map((name) => [name, rows.reduce((sum, row) => sum + row[name], 0)]));
}

function showTable(body, rows) {
  keyed(body, rows, (row) => row.name,
    (row) => h('tr', {}, h('th', { scope: 'row' }, row.name), ...SHOWN.map(() => h('td', { class: 'number' }, ''))),
    (node, row) => [count(row.requests), count(row.input_tokens), count(row.cached_input_tokens), count(row.output_tokens), duration(row.chip_ms)]
      .forEach((text, i) => setText(node.children[i + 1], text)));
}

function showRows(rows, period) {
  const sum = total(rows);
  setText($('sum-requests'), compact(sum.requests));
  setText($('sum-input'), compact(sum.input_tokens));
  setText($('sum-cached'), sum.cached_input_tokens ? `${compact(sum.cached_input_tokens)} from the cache` : '');
  setText($('sum-output'), compact(sum.output_tokens));
  setText($('sum-reported'), sum.reported_tokens ? `${compact(sum.reported_tokens)} counted by external servers` : '');
  setText($('sum-chip'), duration(sum.chip_ms));
  showTable($('usage-models'), sumBy(rows, 'model'));
  setText($('usage-none'), `No usage in ${period.words}.`);
  setHidden($('usage-none'), rows.length > 0);
  const part = seesTeams() ? 'team' : seat.role === 'team_lead' ? 'key' : null;
  setHidden($('usage-parts-box'), part === null || rows.length === 0);
  if (part) showTable($('usage-parts'), sumBy(rows, part));
}

// ---- over time ----

const CHART = { width: 720, height: 150 };

// The period as whole hours or days; the last one includes the current time.
function cut(now, { step, steps }) {
  const end = Math.ceil((now + zone()) / step) * step - zone();
  return Array.from({ length: steps }, (_, i) => ({ since: end - (steps - i) * step, until: end - (steps - i - 1) * step }));
}

function label(bucket, period) {
  const options = period.each === 'hour' ? { hour: '2-digit', minute: '2-digit', hour12: false } : { day: 'numeric', month: 'short' };
  return new Date(bucket.since * 1000).toLocaleString('en-GB', options);
}

function showChart(buckets, period) {
  const most = Math.max(1, ...buckets.map(({ sum }) => sum.input_tokens + sum.output_tokens));
  const slot = CHART.width / buckets.length, width = Math.min(slot * 0.7, 36);
  const bars = buckets.map(({ sum }, i) => {
    const group = svg('g', {});
    let top = CHART.height;
    const parts = [['in', sum.input_tokens - sum.cached_input_tokens], ['cached', sum.cached_input_tokens], ['out', sum.output_tokens]];
    for (const [kind, tokens] of parts) {
      const height = (tokens * CHART.height) / most;
      if (height <= 0) continue;
      top -= height;
      group.append(svg('rect', { class: kind, x: (i * slot + (slot - width) / 2).toFixed(1), y: top.toFixed(1), width: width.toFixed(1), height: Math.max(height, 0.8).toFixed(1) }));
    }
    group.append(svg('title', {}, `${label(buckets[i], period)}: ${plural(sum.input_tokens, 'token')} in, ${count(sum.output_tokens)} out`));
    return group;
  });
  const picture = svg('svg', { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: 'img', preserveAspectRatio: 'none',
    'aria-label': `Tokens by ${period.each} over ${period.words}; at most ${count(most)} in one ${period.each}` },
  svg('path', { class: 'base', d: `M0 ${CHART.height}H${CHART.width}` }), ...bars);
  const marks = [0, Math.floor(buckets.length / 2), buckets.length - 1].map((i) => h('span', {}, label(buckets[i], period)));
  $('chart').replaceChildren(picture, h('p', { class: 'marks', 'aria-hidden': 'true' }, ...marks));
  setText($('chart-title'), `Tokens by ${period.each}, at most ${compact(most)}`);
}

// ---- the whole view ----

export async function loadUsage() {
  asking?.abort();
  const { signal } = asking = new AbortController();
  const period = PERIODS[$('periods').querySelector(':checked').value];
  const buckets = cut(Date.now() / 1000, period);
  setHidden($('usage-error'), true);
  try {
    const rows = (await api.get(path(buckets[0].since, period), signal)).data;
    showRows(rows, period);
    showChart(buckets.map((bucket) => ({ ...bucket, sum: total(rows.filter((row) => row.since === bucket.since)) })), period);
  } catch (error) {
    if (error.name === 'AbortError') return;
    setText($('usage-error'), error.message);
    setHidden($('usage-error'), false);
  }
}

export function startUsage(theSeat) {
  seat = theSeat;
  setText($('usage-lead'), seesTeams() ? 'Usage of all teams.' : seat.role === 'team_lead' ? `Usage of ${seat.team}.` : 'Usage of your key.');
  setText($('usage-parts-title'), seesTeams() ? 'By team' : 'By key');
  setText($('usage-parts-name'), seesTeams() ? 'Team' : 'Key');
  $('periods').addEventListener('change', loadUsage);
}
