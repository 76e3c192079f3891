// 12. Compare: this run beside another one. Their curves, what their plans differ in, their digests, their last scores row by row.

import { get, path } from '../api.js';
import { Chart } from '../chart.js';
import { fill, h, keyed, scroll, show, table, text } from '../dom.js';
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
    const notes = answer.notes.length > 0 && h('ul', { class: 'lines' }, answer.notes.map(line => h('li', {}, line)));
    tables.replaceChildren(...[runTable(answer), planTable(answer), scoreTable(answer), notes].filter(Boolean));
  }

  return changes => {
    if (changes.has('theme')) for (const one of [score, loss]) one.recolour();
    if (other && (changes.has('rounds') || changes.has('all'))) overlay();
  };
}

function runTable({ runs }) {
  const rows = [
    ['committed', ...runs.map(one => [one.committed, words.count])], ['rounds', ...runs.map(one => [one.rounds, words.count])],
    ['digest', ...runs.map(one => h('code', { title: one.sha256 }, one.sha256?.slice(0, 12) ?? words.NONE))],
    ['digests part in', ...runs.map(one => parting(one.partsIn, one === runs[0]))],
    ['states part in', ...runs.map(one => parting(one.statesPartIn, one === runs[0]))],
  ];
  return titled('Runs', ['', ...runs.map(one => one.run)], rows);
}

const parting = (round, isFirst) => isFirst ? '' : words.isNumber(round) ? `round ${round}` : 'no round';

function planTable({ runs, plan }) {
  const rows = plan.map(one => [one.key, ...one.values.map(value => value ?? h('span', { class: 'soft' }, 'default'))]);
  return titled(rows.length > 0 ? 'Plans differ in' : 'Plans are the same', ['key', ...runs.map(one => one.run)], rows);
}

function scoreTable({ runs, clients, mean }) {
  const all = [...clients, ...(clients.length > 1 ? [mean] : [])];
  const rows = all.map(row => [row.client, row.task, ...row.scores.flatMap((score, at) => [
    [score.score, words.score, 'it was not scored'], [score.standardError, words.score],
    ...(at === 0 ? [] : [differing(score), [score.differenceError, words.score, score.isPaired ? null : 'not paired row by row']]),
  ])]);
  const head = ['client', 'task', ...runs.flatMap((run, at) => [run.run, 's.e.', ...(at === 0 ? [] : ['difference', 's.e.'])])];
  return titled('Last scores', head, rows, 2);
}

const differing = ({ difference, isNoise }) =>
  [difference, value => words.difference(value) + (isNoise ? ' ~' : ''), 'the two cannot be compared'];

function titled(title, head, rows, textColumns = 1) {
  const kinds = head.map((_, at) => at < textColumns || title !== 'Last scores' ? 'text' : '');
  const { element, body } = table(title, head.map((one, at) => [one, kinds[at]]));
  fill(body, rows, kinds);
  return h('div', {}, h('h3', {}, title), rows.length > 0 ? scroll(element, title) : null);
}
