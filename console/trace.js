// The trace of one request, from GET /v1/requests/{id}, as a dialog.
import { $, h, setHidden } from './dom.js';
import * as api from './api.js';
import { count, duration } from './format.js';

const NAMES = {
  queued: 'Queued', sent: 'Sent to an engine', admitted: 'Admitted: memory is allocated', first_token: 'First token',
  paused: 'Paused', resumed: 'Resumed', requeued: 'Queued again', ended: 'Ended',
};

function facts(record) {
  const rows = [
    ['Model', record.model], ['Team', record.team], ['Key', record.key],
    ['Outcome', record.state === 'running' ? 'running' : record.outcome],
    ['Input', `${count(record.usage.prompt_tokens)} tokens, ${count(record.usage.prompt_tokens_details.cached_tokens)} cached`],
    ['Output', `${count(record.usage.completion_tokens)} tokens billed, ${count(record.emitted_tokens)} generated`],
    ['Chip time', duration(record.chip_ms)],
  ];
  if (record.detail) rows.push(['Reason', record.detail]);
  return rows.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)));
}

function trail(record) {
  return record.trail.map((event) => h('li', {},
    h('span', { class: 'when' }, `+${duration(Math.max(0, (event.at - record.opened) * 1000))}`),
    h('span', {}, NAMES[event.kind] ?? event.kind, event.why ? h('span', { class: 'aside' }, ` ${event.why}`) : '')));
}

export async function openTrace(id) {
  const dialog = $('trace');
  $('trace-id').textContent = id;
  $('trace-facts').replaceChildren();
  $('trace-trail').replaceChildren();
  setHidden($('trace-error'), true);
  if (!dialog.open) dialog.showModal();
  try {
    const record = await api.get(`/v1/requests/${id}`);
    $('trace-facts').replaceChildren(...facts(record));
    $('trace-trail').replaceChildren(...trail(record));
  } catch (error) {
    $('trace-error').textContent = error.message;
    setHidden($('trace-error'), false);
  }
}

export function startTrace() {
  $('trace-close').addEventListener('click', () => $('trace').close());
  $('trace').addEventListener('click', (event) => {
    if (event.target === $('trace')) $('trace').close();  // a click outside of it
  });
}
