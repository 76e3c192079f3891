// 12. Compare: this run beside another one. Their curves, what their plans differ in, their digests, their last scores row by row.

import { get, path } from '../api.js';
import { Chart } from '../chart.js';
import { fill, h, keyed, show, table, text } from '../dom.js';
import * as words from '../words.js';

const NONE = '';

export function start(section, page) {
  const select = h('select', { 'aria-label': 'Run to compare with', change: () => choose(select.value), focus: () => offer() },
    h('option', { value: NONE }, 'with ...'));
  section.querySelector('h2').append(select);
  const chart = () => [
    { key: 'mine', name: page.run, colour: 's0', width: 2.5 }, { key: 'theirs', name: 'the other', colour: 's1', width: 2, dash: [6, 3] }];
  const score = new Chart({ label: 'Mean score of both runs', format: words.score, lines: chart() });
  const loss = new Chart({ label: 'Mean training loss of both runs', format: words.loss, lines: chart() });
  const tables = h('div', { class: 'tables' });
  const body = h('div', { hidden: true }, h('div', { class: 'pair' },
    h('div', {}, h('h3', {}, 'Mean score'), score.element), h('div', {}, h('h3', {}, 'Mean training loss'), loss.element)), tables);
  const note = h('p', { class: 'note' }, 'Choose a run. Its address keeps the choice.');
  section.append(body, note);
  let other = null;
  const asked = new URLSearchParams(location.search).get('with');
  offer().then(() => asked && choose(asked));

  async function offer() {
    const runs = await get('/v1/runs').then(list => list.runs.map(one => one.run), () => []);
    keyed(select, [NONE, ...runs.filter(one => one !== page.run)], one => one,
      one => h('option', { value: one }, one === NONE ? 'with ...' : one), () => {});
  }

  async function choose(run) {
    select.value = run;
    history.replaceState(null, '', run === NONE ? location.pathname : `${location.pathname}?with=${encodeURIComponent(run)}`);
    show(body, run !== NONE);
    other = null;
    if (run === NONE) return;
    try {
      other = await get(path(run));
      overlay();
      const answer = await get(`/v1/compare?run=${encodeURIComponent(page.run)}&run=${encodeURIComponent(run)}`);
      showTables(answer);
      text(note, `As of now, with ${run} in round ${other.state.round} of ${other.state.rounds}.`);
    } catch (error) {
      text(note, `The comparison is not known: ${error.message}`);
    }
  }

  function overlay() {
    const mine = new Map(page.model.rounds.map(round => [round.round, round]));
    const theirs = new Map(other.rounds.map(round => [round.round, round]));
    const rounds = [...new Set([...mine.keys(), ...theirs.keys()])].sort((a, b) => a - b);
    for (const [chart, key] of [[score, 'score'], [loss, 'loss']]) {
      chart.set(rounds, {
        mine: rounds.map(round => mine.get(round)?.[key]?.mean ?? null),
        theirs: rounds.map(round => theirs.get(round)?.[key]?.mean ?? null),
      });
    }
  }

  function showTables(answer) {
    const runs = answer.runs;
    tables.replaceChildren(...[planTable(answer, runs), runTable(answer, runs), scoreTable(answer, runs)].filter(Boolean));
  }

  return changes => {
    if (changes.has('theme')) for (const one of [score, loss]) one.recolour();
    if (other && (changes.has('rounds') || changes.has('all'))) overlay();
  };
}

function planTable() { return null; }
function runTable() { return null; }
function scoreTable() { return null; }
