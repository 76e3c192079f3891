// 6. Stragglers: who took longer than it usually does, and who decided how long the round took.

import { get, path } from '../api.js';
import { openClient } from '../client.js';
import { fill, h, scroll, sentence, show, table, text } from '../dom.js';
import { whenSeen } from '../seen.js';
import * as words from '../words.js';

const COLUMNS = [
  ['client', 'text'], ['site', 'text'], ['last', '', 'seconds from assignment to report in the last round that it trained in'],
  ['its median', '', 'of all its rounds'], ['times', '', 'the last over its median'], ['decided', '', 'rounds that closed with its report'],
];

export function start(section, page) {
  const rows = table('Stragglers', COLUMNS);
  const spread = h('p', { class: 'note' });
  const note = h('p', { class: 'note' });
  section.append(spread, scroll(rows.element, 'Stragglers'), note);
  const ask = whenSeen(section, async () => {
    try {
      const answer = await get(`${path(page.run)}/stragglers`);
      show(rows.element, answer.clients.length > 0);
      fill(rows.body, answer.clients.map(one => [
        h('button', { type: 'button', class: 'plain', click: () => openClient(page, one) }, one.client), one.site,
        [one.seconds, words.seconds], [one.medianSeconds, words.seconds], [one.ratio, words.score, 'it has one round'],
        [one.decided, words.count],
      ]), COLUMNS.map(([, kind]) => kind));
      text(note, answer.clients.length > 0 ? `The slowest of ${words.counted(answer.of, 'client')}, by how many times its own median.`
        : 'Times of clients were not written down yet.');
    } catch (error) {
      show(rows.element, false);
      text(note, `Times of clients are not known: ${error.message}`);
    }
  });

  return changes => {
    if (!changes.has('all') && !changes.has('rounds')) return;
    const last = page.model.rounds.findLast(round => round.clientSeconds?.n > 0);
    const { median, p90, worst, n } = last?.clientSeconds ?? {};
    sentence(spread, last ? [`Round ${last.round}: median `, [median, words.seconds], ', p90 ', [p90, words.seconds], ', slowest ',
      [worst, words.seconds], ' of n = ', [n, words.count],
      last.timing?.decidedBy ? `. ${last.timing.decidedBy} decided its length.` : '.'] : []);
    ask();
  };
}
