// 9. Drift: how long the updates are, and how far they point the same way.

import { Chart } from '../chart.js';
import { h, sentence } from '../dom.js';
import * as words from '../words.js';

export function start(section, page) {
  const norm = new Chart({ label: 'Norm of updates by round', format: words.loss, bands: [['p90', 'p10', 's5']], lines: [
    { key: 'mean', name: 'mean', colour: 's5', about: 'mean over clients of the norm of the product of their factors' },
    { key: 'p90', name: 'p90', colour: 's5', isEdge: true }, { key: 'p10', name: 'p10', colour: 's5', isEdge: true },
    { key: 'worst', name: 'largest', colour: 's1', width: 1.5, dash: [2, 3] },
  ] });
  const coherence = new Chart({ label: 'Coherence of updates by round', format: words.score, lines: [
    { key: 'coherence', name: 'coherence', colour: 's6', about: 'norm of the mean update over the mean of the norms: 1 where all agree' },
  ] });
  const note = h('p', { class: 'note' });
  section.append(h('div', { class: 'pair' },
    h('div', {}, h('h3', {}, 'Norm of updates'), norm.element), h('div', {}, h('h3', {}, 'Coherence'), coherence.element)), note);

  return changes => {
    if (changes.has('theme')) for (const chart of [norm, coherence]) chart.recolour();
    if (!changes.has('all') && !changes.has('rounds')) return;
    const measured = page.model.rounds.filter(round => round.norm?.n > 0);
    const column = of => measured.map(round => of(round.norm) ?? null);
    norm.set(measured.map(round => round.round), {
      mean: column(one => one.mean), p10: column(one => one.p10), p90: column(one => one.p90), worst: column(one => one.worst),
    });
    const agreed = page.model.rounds.filter(round => words.isNumber(round.coherence));
    coherence.set(agreed.map(round => round.round), { coherence: agreed.map(round => round.coherence) });
    const last = page.model.rounds.at(-1);
    sentence(note, !last || last.round === 0 ? ['No update is aggregated yet.']
      : last.norm?.n > 0 ? [`Round ${last.round}: n = `, [last.norm.n, words.count],
        ...(last.norm.leftOut > 0 ? [', ', [last.norm.leftOut, words.count], ' left out'] : []), '.']
        : [`Norms of round ${last.round} are not known.`]);
  };
}
