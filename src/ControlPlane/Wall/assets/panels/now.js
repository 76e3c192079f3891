// 1. Now: where the run stands, why, and how far it is; what may be done about it.

import { h, keyed, number, show, text } from '../dom.js';
import { Steering } from '../steer.js';
import * as words from '../words.js';

const STAGES = { reported: 'reported', atWork: 'at work', failed: 'failed', missing: 'files missing', lost: 'site lost' };

export function start(section, page) {
  const status = h('span', { class: 'status' });
  const sentence = h('p', { class: 'sentence', 'aria-live': 'polite' }, 'Waiting for the run.');
  const lines = h('ul', { class: 'lines' });
  const bar = h('div', { class: 'progress', role: 'progressbar', 'aria-label': 'clients of the open round that have reported' });
  const stages = h('p', { class: 'note' });
  const facts = h('dl', { class: 'facts' });
  const steering = new Steering(page);
  section.append(
    h('div', { class: 'lead' }, status, sentence, steering.element),
    h('div', { class: 'under' }, h('div', { class: 'round' }, bar, stages, lines), facts));
  const fact = factsIn(facts);
  setInterval(() => page.model.state && !document.hidden && tick(), 1_000);

  function tick() {
    const { state, stateAt } = page.model;
    const since = (Date.now() - stateAt) / 1e3;
    const isLive = state.status === 'running' && !state.staleSince;
    const left = state.hold?.secondsLeft;
    const waiting = state.hold?.seconds;
    fact('waiting', isLive && words.isNumber(waiting) ? words.seconds(waiting + since) : words.NONE, waiting);
    fact('deadline', isLive && words.isNumber(left) ? `in ${words.seconds(Math.max(0.1, left - since))}` : words.NONE, left);
    const end = state.forecastEnd;
    fact('forecast end', end ? `${words.time(end)}${until(end)}` : words.NONE, end);
  }

  return changes => {
    const { state, gone, away, rounds } = page.model;
    if (gone || (away && !state)) {
      text(sentence, gone ?? away);
      return;
    }
    if (!state) return;
    status.className = `status ${state.status}`;
    text(status, state.status);
    text(sentence, state.text);
    steering.update(state);
    const said = [...(state.hold?.lines ?? []), ...(state.missing ?? [])];
    keyed(lines, said.map((line, index) => ({ line, index })), one => one.index, () => h('li'), (item, one) => text(item, one.line));
    if (changes.has('clients') || changes.has('state') || changes.has('all')) progress(state);
    const committed = state.committed ?? null;
    fact('round', `${state.round} of ${state.rounds}`, state.round);
    fact('attempt', words.count(state.attempt), state.attempt);
    fact('phase', state.phase);
    fact('committed', committed === null ? 'none yet' : `${committed} of ${state.rounds}`, committed);
    fact('in rounds', words.seconds(state.elapsedSeconds), state.elapsedSeconds);
    fact('median round', words.seconds(state.medianSeconds), state.medianSeconds, 'of the last ten rounds, without round 0');
    const digest = state.sha256 ?? rounds.at(-1)?.sha256;
    fact('digest', digest ? digest.slice(0, 12) : words.NONE, digest, digest);
    tick();
  };

  function progress(state) {
    const counts = {};
    for (const client of page.model.clients.values()) {
      if (client.phase === undefined || client.phase === state.phase || !['train', 'evaluate'].includes(state.phase))
        counts[client.stage] = (counts[client.stage] ?? 0) + 1;
    }
    const isOpen = state.status === 'running' && state.cohort > 0;
    const parts = isOpen ? Object.keys(STAGES).filter(stage => counts[stage]) : [];
    keyed(bar, parts, stage => stage, stage => h('i', { class: stage }), (part, stage) => {
      part.style.flexGrow = counts[stage];
    });
    show(bar, isOpen);
    bar.setAttribute('aria-valuemax', state.cohort);
    bar.setAttribute('aria-valuenow', state.reported);
    text(stages, isOpen
      ? [`${state.reported} of ${words.counted(state.cohort, 'client')} reported`,
        ...parts.filter(stage => stage !== 'reported').map(stage => `${counts[stage]} ${STAGES[stage]}`)].join(', ')
      : state.status === 'running' ? 'No client is at work.' : state.reason ?? '');
  }
}

// Terms in the order in which they are first set.
function factsIn(list) {
  const known = new Map();
  return (term, value, exact, about) => {
    if (!known.has(term)) {
      const dd = h('dd', { class: 'number' });
      list.append(h('div', { title: about }, h('dt', {}, term), dd));
      known.set(term, dd);
    }
    const dd = known.get(term);
    number(dd, exact ?? null, () => value);
    if (term === 'digest' && exact) dd.title = exact;
  };
}

function until(end) {
  const left = (new Date(end).getTime() - Date.now()) / 1e3;
  return left > 0 ? `, in ${words.seconds(left)}` : '';
}
