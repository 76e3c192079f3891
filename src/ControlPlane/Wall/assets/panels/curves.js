// 3. Score and loss over the rounds: a mean with its band over all clients, beside the base and the reference that shares nothing.

import { get, path } from '../api.js';
import { Chart } from '../chart.js';
import { h, keyed, sentence, text } from '../dom.js';
import * as words from '../words.js';

const ALL = '';

export function start(section, page) {
  const select = h('select', { 'aria-label': 'Task', change: () => page.changed('task') });
  offer(select, []);
  section.querySelector('h2').append(select);
  const score = new Chart({
    label: 'Score by round', format: words.score, bands: [['p90', 'p10', 's0']], lines: [
      { key: 'mean', name: 'mean', colour: 's0', width: 2.5, about: 'mean over clients, each counting alike' },
      { key: 'median', name: 'median', colour: 's2', width: 1.5, dash: [6, 3] },
      { key: 'p90', name: 'p90', colour: 's0', isEdge: true }, { key: 'p10', name: 'p10', colour: 's0', isEdge: true },
      { key: 'worst', name: 'worst', colour: 's1', width: 1.5, dash: [2, 3], about: 'the client it is worst for' },
      { key: 'base', name: 'base', colour: 's7', width: 1.5, dash: [8, 4], about: 'the frozen base on the same rows' },
      { key: 'local', name: 'local-only', colour: 's3', width: 2, about: 'mean of the same clients and budget with nothing shared' },
    ],
  });
  const loss = new Chart({
    label: 'Training loss by round', format: words.loss, bands: [['p90', 'p10', 's0']], lines: [
      { key: 'mean', name: 'mean', colour: 's0', width: 2.5, about: 'mean over clients, each counting alike' },
      { key: 'median', name: 'median', colour: 's2', width: 1.5, dash: [6, 3] },
      { key: 'p90', name: 'p90', colour: 's0', isEdge: true }, { key: 'p10', name: 'p10', colour: 's0', isEdge: true },
      { key: 'worst', name: 'worst', colour: 's1', width: 1.5, dash: [2, 3], about: 'the client it is worst for' },
      { key: 'local', name: 'local-only', colour: 's3', width: 2, about: 'mean of the same clients and budget with nothing shared' },
    ],
  });
  const [scoreTitle, scoreNote] = [h('h3', {}, 'Score'), h('p', { class: 'note' })];
  const [lossTitle, lossNote] = [h('h3', {}, 'Training loss'), h('p', { class: 'note' })];
  section.append(h('div', { class: 'pair' },
    h('div', {}, scoreTitle, score.element, scoreNote), h('div', {}, lossTitle, loss.element, lossNote)));

  const histories = { own: new History(), local: new History() };

  return changes => {
    if (changes.has('theme')) {
      score.recolour();
      loss.recolour();
    }
    if (!['all', 'rounds', 'local', 'result', 'task'].some(one => changes.has(one))) return;
    const { model, local } = page;
    const task = select.value;
    offer(select, model.rounds.at(-1)?.tasks ?? []);
    if (task === ALL) return draw(task, model.rounds, local?.rounds ?? []);
    Promise.all([histories.own.of(model, task, changes), local && histories.local.of(local, task, changes)]).then(([own, theirs]) => {
      if (select.value === task) draw(task, own, theirs ?? []);
    }, error => sentence(scoreNote, [`The numbers of task ${task} are not known: ${error.message}`]));
  };

  function draw(task, own, local) {
    const scored = own.filter(round => round.score);
    const last = lastOf(task, page.result);
    drawOn(score, scored, local.filter(round => round.score), 'score', last);
    drawOn(loss, own.filter(hasLoss), local.filter(hasLoss), 'loss', null);
    const metric = own.findLast(round => round.metric)?.metric;
    text(scoreTitle, metric ? `Score: ${metric}` : 'Score');
    sentence(scoreNote, scored.length > 0 ? counted(scored.at(-1), 'score') : [whyNoScore(page.model.rounds, task)]);
    sentence(lossNote, countedLoss(own));
  }
}

const hasLoss = round => words.isNumber(round.loss?.mean);

// Base and standard error belong to the last scores; of a plan without tasks of several clients a task is its client.
const lastOf = (task, result) => task === ALL ? result?.mean
  : result?.tasks?.find(one => one.task === task) ?? result?.clients.find(one => one.task === task);

/** The rounds of a task, which the stream does not tell of each: asked for once, and then for those that came since. */
class History {
  async of(model, task, changes) {
    if (this.task !== task || changes.has('redone') || changes.has('all')) [this.task, this.rounds] = [task, []];
    const rounds = this.rounds;
    const after = rounds.at(-1)?.round ?? -1;
    if ((model.rounds.at(-1)?.round ?? -1) <= after) return rounds;
    const answer = await get(`${path(model.run)}/tasks?task=${encodeURIComponent(task)}&after=${after}`);
    for (const round of answer.tasks[0].rounds) if (round.round > (rounds.at(-1)?.round ?? -1)) rounds.push(round);
    return rounds;
  }
}

function drawOn(chart, own, local, key, last) {
  const [mine, theirs] = [byRound(own), byRound(local)];
  const rounds = [...new Set([...mine.keys(), ...theirs.keys()])].sort((a, b) => a - b);
  const column = of => rounds.map(round => of(mine.get(round)?.[key]) ?? null);
  chart.set(rounds, {
    mean: column(spread => spread?.mean), median: column(spread => spread?.median), p10: column(spread => spread?.p10),
    p90: column(spread => spread?.p90), worst: column(spread => spread?.worst),
    base: rounds.map(() => last?.base ?? null), local: rounds.map(round => theirs.get(round)?.[key]?.mean ?? null),
  }, rounds.map(round => round === own.at(-1)?.round ? last?.standardError ?? null : null));
}

const byRound = parts => new Map(parts.map(part => [part.round, part]));

function offer(select, tasks) {
  if (select.options.length === tasks.length + 1) return;
  keyed(select, [{ task: ALL }, ...tasks], one => one.task,
    one => h('option', { value: one.task }, one.task === ALL ? 'all tasks' : one.task), () => {});
}

// How many clients the last numbers are of, and why others are not among them.
function counted(part, key) {
  const { n, leftOut } = part[key];
  const which = key === 'score' ? what => what === 'not scored' : what => what !== 'not scored';
  const why = (part.troubles ?? []).filter(one => which(one.what))
    .map(one => `${one.count} ${one.what}${one.reason ? `: ${one.reason}` : ''}`);
  const because = why.length > 0 ? ` (${why.join('; ')})` : '';
  return [`Round ${part.round}: n = `, [n, words.count],
    ...(leftOut > 0 ? [', ', [leftOut, words.count], ` left out${because}`] : []), '.'];
}

function countedLoss(own) {
  const last = own.findLast(part => part.round > 0);
  return last?.loss ? counted(last, 'loss') : ['No round with training is committed yet.'];
}

function whyNoScore(rounds, task) {
  if (rounds.length === 0) return 'Round 0, which scores the base, is not committed yet.';
  const isMixed = task === ALL && rounds.at(-1).tasks?.some(one => one.score);
  return isMixed ? 'The tasks have several metrics, of which there is no mean: choose a task.' : 'No round was scored yet.';
}
