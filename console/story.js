// What became of one request: GET /v1/requests/{id} as a dialog.
import { $, h, setHidden } from './dom.js';
import * as api from './api.js';
import { count, duration } from './format.js';

const NAMES = {
  queued: 'Queued', sent: 'Sent to an engine', admitted: 'Admitted: it has memory', first_token: 'First token',
  paused: 'Paused', resumed: 'Went on', requeued: 'Queued again', ended: 'Ended',
};

function facts(record) {
  const rows = [
    ['Model', record.model], ['Team', record.team], ['Key', record.key],
    ['Outcome', record.state === 'running' ? 'running' : record.outcome],
    ['Input', `${count(record.usage.prompt_tokens)} tokens, ${count(record.usage.prompt_tokens_details.cached_tokens)} cached`],
    ['Output', `${count(record.usage.completion_tokens)} tokens billed, ${count(record.emitted_tokens)} made`],
    ['Chip time', duration(record.chip_ms)],
  ];
  if (record.detail) rows.push(['Why', record.detail]);
  return rows.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)));
}

function trail(record) {
  return record.trail.map((event) => h('li', {},
    h('span', { class: 'when' }, `+${duration(Math.max(0, (event.at - record.opened) * 1000))}`),
    h('span', {}, NAMES[event.kind] ?? event.kind, event.why ? h('span', { class: 'aside' }, ` ${event.why}`) : '')));
}

export async function openStory(id) {
  const dialog = $('story');
  $('story-id').textContent = id;
  $('story-facts').replaceChildren();
  $('story-trail').replaceChildren();
  setHidden($('story-error'), true);
  if (!dialog.open) dialog.showModal();
  try {
    const record = await api.get(`/v1/requests/${id}`);
    $('story-facts').replaceChildren(...facts(record));
    $('story-trail').replaceChildren(...trail(record));
  } catch (error) {
    $('story-error').textContent = error.message;
    setHidden($('story-error'), false);
  }
}

export function startStory() {
  $('story-close').addEventListener('click', () => $('story').close());
  $('story').addEventListener('click', (event) => {
    if (event.target === $('story')) $('story').close();  // beside it
  });
}
