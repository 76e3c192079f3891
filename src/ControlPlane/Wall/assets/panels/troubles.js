// 7. Clients that are not in an aggregate, and why: of the last rounds, the most frequent reasons of each.

import { fill, h, scroll, show, table, text } from '../dom.js';
import * as words from '../words.js';

const LAST = 50; // rounds with troubles
const COLUMNS = [['round', ''], ['what', 'text'], ['clients', ''], ['reason', 'text wide'], ['which', 'text wide', 'the first few']];

export function start(section, page) {
  const rows = table('Refused, failed, late', COLUMNS);
  const note = h('p', { class: 'note' });
  section.append(scroll(rows.element, 'Refused, failed, late'), note);

  return changes => {
    if (!changes.has('all') && !changes.has('rounds')) return;
    const troubled = page.model.rounds.filter(round => round.troubles.length > 0 || Object.keys(round.kept ?? {}).length > 0);
    show(rows.element, troubled.length > 0);
    fill(rows.body, troubled.slice(-LAST).toReversed().flatMap(rowsOf), COLUMNS.map(([, kind]) => kind));
    const shown = troubled.length > LAST ? ` Shown: the last ${LAST} of ${troubled.length} rounds with any.` : '';
    const last = page.model.rounds.at(-1);
    text(note, last ? `Round ${last.round}: ${outcomesOf(last)}.${shown}` : 'No round is committed yet.');
  };
}

const outcomesOf = round => Object.entries(round.outcomes).map(([what, many]) => `${many} ${words.spaced(what)}`).join(', ');

const rowsOf = round => [
  ...round.troubles.map(one => [
    [round.round, words.count], h('span', { class: one.what === 'late' ? 'warn' : 'bad' }, one.what), [one.count, words.count],
    one.reason ?? '', one.clients.join(', ') + (one.count > one.clients.length ? ', ...' : ''),
  ]),
  ...Object.entries(round.kept ?? {}).map(([task, why]) => [[round.round, words.count], 'state kept', '', why, `task ${task}`]),
];
