// A client with its exact numbers, round by round.

import { get, path } from './api.js';
import { fill, h, scroll, table, text } from './dom.js';
import * as words from './words.js';

const COLUMNS = [
  ['round', ''], ['outcome', 'text'], ['loss', '', 'mean training loss'], ['score', ''], ['s.e.', '', 'of the score, over test rows'],
  ['base', '', 'the frozen base on the same rows'], ['rows', '', 'test rows'], ['samples', ''], ['steps', ''], ['weight', ''],
  ['update', '', 'bytes sent'], ['norm', '', 'of its update'], ['time', '', 'from assignment to report'], ['why', 'text wide'],
];

/** Opens it. */
export async function openClient(page, { client, task, site }) {
  const note = h('p', { class: 'note', role: 'status' }, 'Asking for its rounds.');
  const rows = table(`Rounds of ${client}`, COLUMNS);
  const dialog = h('dialog', { class: 'client', 'aria-labelledby': 'client-title', close: () => dialog.remove() },
    h('h2', { id: 'client-title' }, h('span', { class: 'name' }, client)), h('p', { class: 'note' }, `task ${task}, site ${site}`),
    scroll(rows.element, 'Rounds'), note,
    h('p', { class: 'buttons' }, h('button', { type: 'button', class: 'main', click: () => dialog.close() }, 'Close')));
  document.body.append(dialog);
  dialog.showModal();
  try {
    const answer = await get(`${path(page.run)}/clients/${encodeURIComponent(client)}/rounds`);
    fill(rows.body, answer.rounds.toReversed().map(cells), COLUMNS.map(([, kind]) => kind));
    text(note, `${words.counted(answer.rounds.length, 'round')}, the last one first.`);
  } catch (error) {
    text(note, `Its rounds are not known: ${error.message}`);
  }
}

const cells = row => [
  [row.round, words.count], row.outcome, [row.meanLoss, words.loss, whyNot(row, 'meanLoss')],
  [row.score, words.score, whyNot(row, 'score')], [row.standardError, words.score], [row.base?.reference, words.score],
  [row.rows, words.count], [row.samples, words.count], [row.steps, words.count], [row.weight, words.score],
  [row.updateBytes, words.bytes], [row.productNorm, words.loss, whyNot(row, 'productNorm')], [row.clientSeconds, words.seconds],
  [row.reason, row.scoreReason, row.curbed, ...Object.entries(row.notFinite ?? {}).map(([key, value]) => `${key} is ${value}`)]
    .filter(Boolean).join('; '),
];

const whyNot = (row, key) => row.notFinite?.[key] ? `it is ${row.notFinite[key]}` : row.reason ?? row.scoreReason ?? 'it was not measured';
