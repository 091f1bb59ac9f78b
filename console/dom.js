// Small helpers for the DOM. Text from other sources only becomes text nodes: nothing here uses innerHTML.

export const $ = (id) => document.getElementById(id);

// h('p', {class: 'note'}, 'text', node): creates an element. Properties that start with "on" add listeners; false
// and null are ignored.
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = 'http://www.w3.org/2000/svg';
export function svg(tag, properties = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Each of these writes to the document only if something changed: reading is cheap, but writing needs a new layout.
export function setText(node, text) {
  const value = String(text);
  if (node.firstChild === null) node.textContent = value;
  else if (node.firstChild.data !== value) node.firstChild.data = value;
}
export function setAttribute(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}
export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

// Makes the children of `parent` match `items`, in order; each key keeps its node. make(item) creates a new node,
// update(node, item) updates a node.
const nodesOf = new WeakMap();  // parent → Map(key → node)
export function keyed(parent, items, keyOf, make, update) {
  const before = nodesOf.get(parent) ?? new Map();
  const after = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const node = before.get(key) ?? make(item);
    before.delete(key);
    after.set(key, node);
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of before.values()) node.remove();
  nodesOf.set(parent, after);
}

// A row of tabs (WAI-ARIA): arrow keys move between them, and only the selected one is in the tab order.
export function tabs(list, chosen = () => {}) {
  const all = [...list.querySelectorAll('[role=tab]')];
  const choose = (tab, focus) => {
    for (const other of all) {
      const on = other === tab;
      other.setAttribute('aria-selected', on);
      other.tabIndex = on ? 0 : -1;
      const panel = $(other.getAttribute('aria-controls'));
      if (panel.getAttribute('aria-labelledby') === other.id || on) panel.hidden = !on;
      if (on) panel.setAttribute('aria-labelledby', tab.id);
    }
    if (focus) tab.focus();
    chosen(tab);
  };
  for (const tab of all) tab.addEventListener('click', () => choose(tab, false));
  list.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = all.indexOf(document.activeElement);
    const next = step === -Infinity ? 0 : step === Infinity ? all.length - 1 : (at + step + all.length) % all.length;
    choose(all[next], true);
  });
  choose(all.find((tab) => tab.getAttribute('aria-selected') === 'true') ?? all[0], false);
}

// Elements that scroll can be reached by keyboard; others are not tab stops.
export function reachWhatScrolls(nodes) {
  const look = (target) => setAttribute(target, 'tabindex', target.scrollWidth > target.clientWidth ? 0 : null);
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => look(entry.target.closest('.scroll'))));
  for (const node of nodes) {
    observer.observe(node);
    observer.observe(node.firstElementChild);
  }
}

// Copies the text, and shows that on the button for a moment.
export async function copy(button, text) {
  const label = button.textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = copyBySelection(text);  // the clipboard API works only with https and on localhost
  }
  button.textContent = done ? 'Copied' : 'Select the text and copy it';
  setTimeout(() => { button.textContent = label; }, 1500);
}
function copyBySelection(text) {
  const area = h('textarea', { class: 'sr', 'aria-hidden': 'true' });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return done;
}
