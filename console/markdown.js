// A model's text as DOM nodes: paragraphs, headings, lists, quotes, tables, fenced code, bold, italics, code.
// Links stay text, so that users cannot click a link that a model generated. Nothing here parses HTML.
import { h, copy } from './dom.js';

// The text's blocks, each with its source: [{source, kind, …}]. A stream only appends, so all blocks except the
// last are the same as in the previous call.
export function blocks(text) {
  const lines = text.split('\n');
  const out = [];
  let at = 0;
  const take = (block, until) => {
    out.push({ ...block, source: `${block.kind}\n${lines.slice(at, until).join('\n')}` });
    at = until;
  };
  while (at < lines.length) {
    const line = lines[at];
    if (line.trim() === '') {
      ++at;
      continue;
    }
    const fence = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/.exec(line);
    if (fence) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trimStart().startsWith(fence[1])) ++end;
      take({ kind: 'code', language: fence[2], text: lines.slice(at + 1, end).join('\n') }, Math.min(end + 1, lines.length));
      continue;
    }
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading) {
      take({ kind: 'heading', level: heading[1].length, text: heading[2] }, at + 1);
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      take({ kind: 'rule' }, at + 1);
    } else if (line.startsWith('>')) {
      const end = runOf(lines, at, (l) => l.startsWith('>'));
      take({ kind: 'quote', inner: lines.slice(at, end).map((l) => l.replace(/^> ?/, '')).join('\n') }, end);
    } else if (isTable(lines, at)) {
      const end = runOf(lines, at, (l) => l.includes('|'));
      take({ kind: 'table', rows: [lines[at], ...lines.slice(at + 2, end)].map(cells) }, end);
    } else if (ITEM.test(line)) {
      const end = endOfList(lines, at);
      take({ kind: 'list', ...items(lines.slice(at, end)) }, end);
    } else {
      const end = runOf(lines, at + 1, (l, i) => l.trim() !== '' && !startsBlock(lines, i));
      take({ kind: 'paragraph', text: lines.slice(at, end).join('\n') }, end);
    }
  }
  return out;
}

const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])\s+/;

function runOf(lines, from, holds) {
  let end = from;
  while (end < lines.length && holds(lines[end], end)) ++end;
  return end;
}

function startsBlock(lines, at) {
  return /^ {0,3}(```|~~~|>|#{1,6}\s)/.test(lines[at]) || ITEM.test(lines[at]) || isTable(lines, at);
}

function isTable(lines, at) {
  return lines[at].includes('|') && /^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$/.test(lines[at + 1] ?? '');
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());
}

// A list continues while lines are items, are indented, or follow without an empty line.
function endOfList(lines, from) {
  let end = from + 1;
  for (; end < lines.length; ++end) {
    const line = lines[end];
    if (line.trim() === '') {
      const next = lines[end + 1] ?? '';
      if (!ITEM.test(next) && !/^\s{2,}\S/.test(next)) break;
    } else if (!ITEM.test(line) && !/^\s/.test(line) && (lines[end - 1].trim() === '' || startsBlock(lines, end))) {
      break;
    }
  }
  return end;
}

function items(lines) {
  const ordered = /\d/.test(ITEM.exec(lines[0])[2]);
  const list = [];
  for (const line of lines) {
    const mark = ITEM.exec(line);
    if (mark && (list.length === 0 || mark[1].length < 2 || mark[1].length < list.indent)) {
      list.indent = mark[0].length;
      list.push([line.slice(mark[0].length)]);
    } else {
      list.at(-1).push(line.replace(/^ {1,4}/, ''));
    }
  }
  return { ordered, start: Number.parseInt(ITEM.exec(lines[0])[2], 10) || 1, inner: list.map((item) => item.join('\n')) };
}

// ---- blocks to nodes ----

const DEEPEST = 6;
const LONGEST_INLINE = 10000;  // longer paragraphs are shown without formatting

function nodeOf(block, depth) {
  switch (block.kind) {
    case 'code':
      return codeNode(block);
    case 'heading':
      return h(`h${Math.min(block.level + 2, 6)}`, {}, ...inline(block.text));
    case 'rule':
      return h('hr');
    case 'quote':
      return h('blockquote', {}, ...nodes(block.inner, depth + 1));
    case 'list':
      return h(block.ordered ? 'ol' : 'ul', block.ordered && block.start !== 1 ? { start: block.start } : {},
        ...block.inner.map((item) => h('li', {}, ...nodes(item, depth + 1, true))));
    case 'table':
      return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Table' }, h('table', {},
        h('thead', {}, h('tr', {}, ...block.rows[0].map((cell) => h('th', { scope: 'col' }, ...inline(cell))))),
        h('tbody', {}, ...block.rows.slice(1).map((row) => h('tr', {}, ...row.map((cell) => h('td', {}, ...inline(cell))))))));
    default:
      return h('p', {}, ...inline(block.text));
  }
}

function nodes(text, depth, tight = false) {
  if (depth > DEEPEST) return [text];
  const parts = blocks(text);
  if (tight && parts[0]?.kind === 'paragraph') {
    return [...inline(parts[0].text), ...parts.slice(1).map((block) => nodeOf(block, depth))];
  }
  return parts.map((block) => nodeOf(block, depth));
}

function codeNode({ language, text }) {
  const button = h('button', { type: 'button', class: 'quiet' }, 'Copy');
  button.addEventListener('click', () => copy(button, text));
  return h('div', { class: 'code' },
    h('div', { class: 'code-bar' }, h('span', {}, language || 'text'), button),
    h('pre', { tabindex: 0, role: 'region', 'aria-label': `Code${language ? `, ${language}` : ''}` }, h('code', {}, text)));
}

// Markers, longest first, and the element that each one creates.
const MARKS = [['**', 'strong'], ['__', 'strong'], ['*', 'em']];

export function inline(text) {
  if (text.length > LONGEST_INLINE) return [text];
  const out = [];
  let plain = '';
  const push = (node) => {
    if (plain) out.push(plain);
    plain = '';
    out.push(node);
  };
  for (let at = 0; at < text.length;) {
    if (text[at] === '`') {
      const ticks = /^`+/.exec(text.slice(at))[0];
      const end = text.indexOf(ticks, at + ticks.length);
      if (end > 0) {
        push(h('code', {}, text.slice(at + ticks.length, end).trim()));
        at = end + ticks.length;
        continue;
      }
      plain += ticks;
      at += ticks.length;
      continue;
    }
    const mark = MARKS.find(([sign]) => text.startsWith(sign, at));
    if (mark && /\S/.test(text[at + mark[0].length] ?? ' ')) {
      const from = at + mark[0].length;
      const end = text.indexOf(mark[0], from);
      if (end > from && /\S/.test(text[end - 1])) {
        push(h(mark[1], {}, ...inline(text.slice(from, end))));
        at = end + mark[0].length;
        continue;
      }
    }
    plain += text[at++];
  }
  if (plain) out.push(plain);
  return out;
}

// Updates `parent` to show `text`; unchanged blocks keep their nodes.
const shown = new WeakMap();  // parent → sources of its children
export function render(parent, text) {
  const before = shown.get(parent) ?? [];
  const now = blocks(text);
  let same = 0;
  while (same < now.length && same < before.length && now[same].source === before[same]) ++same;
  while (parent.childNodes.length > same) parent.lastChild.remove();
  parent.append(...now.slice(same).map((block) => nodeOf(block, 0)));
  shown.set(parent, now.map((block) => block.source));
}
