// The result so far: federated beside the frozen base and the reference that shares nothing, with standard errors.

import { fill, h, keyed, show, table, text } from '../dom.js';
import * as words from '../words.js';

export function start(section, page) {
  const box = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Result' });
  const by = h('select', { 'aria-label': 'Rows', change: () => draw() },
    h('option', { value: 'clients' }, 'by client'), h('option', { value: 'tasks' }, 'by task'));
  const notes = h('ul', { class: 'lines' });
  const none = h('p', { class: 'note' });
  section.querySelector('h2').append(by);
  section.append(box, none, notes);
  show(by, false);

  function draw() {
    const { result } = page;
    const isThere = result && result.clients.some(row => words.isNumber(row.federated) || words.isNumber(row.base));
    show(box, Boolean(isThere));
    text(none, isThere ? '' : page.resultTrouble ? `The result is not known: ${page.resultTrouble}` : 'No client was scored yet.');
    show(none, !isThere);
    if (!isThere) return;
    show(by, Boolean(result.tasks));
    const isByTask = result.tasks && by.value === 'tasks';
    const columns = (isByTask ? taskColumns : columnsOf)(result);
    const clients = [...result.clients, ...(result.clients.length > 1 ? [result.mean] : [])];
    const rows = isByTask ? result.tasks.rows ?? result.tasks : clients;
    const { element, body } = table('Result', columns.map(([title, kind, , about]) => [title, kind, about]));
    fill(body, rows.map(row => columns.map(([, , cell]) => cell(row))), columns.map(([, kind]) => kind));
    if (!isByTask && result.clients.length > 1) body.lastElementChild.className = 'mean';
    box.replaceChildren(element);
    const noise = '~ inside two standard errors (s.e., over test rows): other rows might as well show no difference';
    const said = [...(element.textContent.includes('~') ? [noise] : []), ...(result.notes ?? [])];
    keyed(notes, said.map((line, index) => ({ line, index })), one => one.index, () => h('li'), (item, one) => text(item, one.line));
  }

  return changes => {
    if (changes.has('result')) draw();
  };
}

const shared = result => result.sharesNothing ? 'unshared' : 'federated';

function columnsOf(result) {
  const local = result.comparesToLocal;
  return [
    ['client', 'text', row => row.client], ['task', 'text', row => row.task],
    ...(result.mean.metric ? [] : [['metric', 'text', row => row.metric ?? words.NONE]]),
    ['base', '', row => [row.base, words.score, 'the frozen base was not scored'], 'the frozen base on the same rows'],
    ...(local ? [['local', '', row => [row.localOnly, words.score, 'no score of the same round'], 'same budget, nothing shared']] : []),
    [shared(result), 'main', row => [row.federated, words.score, 'it was not scored']],
    ['s.e.', '', row => [row.standardError, words.score]],
    [local ? 'vs local' : 'vs base', '', row => differing(row.difference, row.differenceError)],
    ['s.e.', '', row => [row.differenceError, words.score, 'the same rows are not known of both']],
    ['majority', '', row => [row.majorityShare, words.score], 'share of the most frequent answer'],
    ['rows', '', row => [row.rows, words.count, 'of a mean: see its clients']], ['sent', '', row => [row.sentBytes, words.bytes]],
  ];
}

function taskColumns(result) {
  const local = result.comparesToLocal;
  return [
    ['task', 'text', row => row.task], ['metric', 'text', row => row.metric ?? words.NONE],
    ['clients', '', row => [row.clients, words.count]], ['scored', '', row => [row.scored, words.count]],
    ['base', '', row => [row.base, words.score]], ...(local ? [['local', '', row => [row.localOnly, words.score]]] : []),
    [shared(result), 'main', row => [row.federated, words.score]], ['s.e.', '', row => [row.standardError, words.score], 'at most'],
    ['vs base', '', row => differing(row.baseDifference, row.baseError)], ['s.e.', '', row => [row.baseError, words.score], 'at most'],
    ...(local ? [['vs local', '', row => differing(row.localOnlyDifference, row.localOnlyError)],
      ['s.e.', '', row => [row.localOnlyError, words.score], 'at most']] : []),
  ];
}

// A difference that is inside two standard errors has a mark, as in the terminal.
function differing(value, error) {
  const isNoise = words.isNumber(value) && words.isNumber(error) && Math.abs(value) <= 2 * error;
  return [value, one => words.difference(one) + (isNoise ? ' ~' : ''), 'one of the two has no score'];
}
