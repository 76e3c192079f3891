// 11. Log: what the silos say of the run, with the trace that each line belongs to.

import { get, path } from '../api.js';
import { h, text } from '../dom.js';
import { whenSeen } from '../seen.js';
import * as words from '../words.js';

const [EVERY_MS, MOST, AT_ONCE] = [3_000, 400, 400];

export function start(section, page) {
  const list = h('ol', { class: 'log', tabindex: 0, role: 'log', 'aria-label': 'Log', 'aria-live': 'off' });
  const note = h('p', { class: 'note' }, 'No line yet.');
  section.append(list, note);
  let next = '';
  const ask = whenSeen(section, async () => {
    try {
      const answer = await get(`${path(page.run)}/logs?most=${AT_ONCE}${next ? `&after=${encodeURIComponent(next)}` : ''}`);
      next = answer.next;
      append(answer.lines);
      const told = [answer.forgotten > 0 ? `${answer.forgotten} older lines are forgotten.` : '', ...answer.missing];
      text(note, told.filter(Boolean).join(' ') || (list.childElementCount === 0 ? 'No line yet.' : ''));
    } catch (error) {
      text(note, `The log is not known: ${error.message}`);
    }
  });
  setInterval(ask, EVERY_MS);
  ask();

  function append(lines) {
    const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
    list.append(...lines.slice(-MOST).map(rowOf));
    while (list.childElementCount > MOST) list.firstElementChild.remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }

  return () => {};
}

function rowOf({ silo, line }) {
  const where = [line.round === undefined ? null : `round ${line.round}`, line.site, line.client].filter(Boolean).join(' ');
  return h('li', { class: line.level },
    h('time', { datetime: line.at }, words.clock(line.at)), h('span', { class: 'level' }, line.level), h('span', { class: 'silo' }, silo),
    h('span', { class: 'said' }, line.text, where ? h('span', { class: 'soft' }, ` ${where}`) : null),
    line.traceId ? h('code', { title: `trace ${line.traceId}, span ${line.spanId ?? '-'}` }, line.traceId.slice(0, 8)) : h('code'));
}
