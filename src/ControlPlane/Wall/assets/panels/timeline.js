// 2. Rounds: one bar each, cut into what it took its time for; who closed it, and how many attempts it took.

import { h, keyed, number, sentence } from '../dom.js';
import * as theme from '../theme.js';
import * as words from '../words.js';

const PARTS = {
  retry: ['bad', 'attempts that were given up'], select: ['s7', 'drawing the cohort'],
  train: ['s0', 'from the first assignment to the median report'], wait: ['s1', 'for stragglers, from the median report to the close'],
  confirm: ['s6', 'sites look whether all is durable'], aggregate: ['s2', 'updates to one state'],
  evaluate: ['s3', 'scoring'], commit: ['s4', 'writing the manifest'],
};
const CLOSED = { all: 'when all had reported', quorum: 'when enough had reported', deadline: 'by the deadline',
  timeBudget: 'by the time budget', lostSite: 'since a site lost its silo' };
const [WIDEST, NARROWEST, FOOT] = [26, 3, 14];

export function start(section, page) {
  const canvas = h('canvas', { tabindex: 0, role: 'img', keydown: event => key(event), pointermove: event => point(roundAt(event)),
    pointerleave: () => point(null), blur: () => point(null) });
  const box = h('div', { class: 'bars' }, canvas);
  const detail = h('p', { class: 'note two', 'aria-live': 'polite' });
  const legend = h('dl', { class: 'legend parts' });
  section.append(box, legend, detail);
  let [selected, shown, step] = [null, [], 0];
  new ResizeObserver(() => draw()).observe(box);

  function draw() {
    const { width, height } = box.getBoundingClientRect();
    if (width < 40) return;
    const ratio = devicePixelRatio || 1;
    const [w, hgt] = [Math.floor(width * ratio), Math.floor(height * ratio)];
    if (canvas.width !== w || canvas.height !== hgt) [canvas.width, canvas.height] = [w, hgt];
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    shown = page.model.rounds.slice(-Math.floor(width / NARROWEST));
    if (shown.length === 0) return;
    step = Math.min(WIDEST, width / shown.length);
    const top = Math.max(...shown.map(lengthOf), 1e-9);
    const tall = height - FOOT - 12;
    const gap = step > 8 ? 2 : step > 5 ? 1 : 0;
    const colours = Object.fromEntries(Object.entries(PARTS).map(([part, [name]]) => [part, theme.colour(name)]));
    const [soft, none, ink, bad] = ['soft', 's7', 'ink', 'bad'].map(theme.colour);
    pen.font = '10px system-ui, sans-serif';
    pen.textAlign = 'center';
    shown.forEach((round, at) => {
      const x = at * step;
      let y = height - FOOT;
      for (const [part, seconds] of partsOf(round)) {
        const size = seconds / top * tall;
        pen.fillStyle = colours[part] ?? none;
        pen.fillRect(x, y - size, step - gap, size);
        y -= size;
      }
      if (round.timing?.attempts > 1) {
        pen.fillStyle = bad;
        pen.fillText(step > 12 ? `×${round.timing.attempts}` : '×', x + (step - gap) / 2, Math.max(9, y - 2));
      }
      pen.fillStyle = soft;
      if (isLabelled(at)) {
        const half = pen.measureText(round.round).width / 2;
        pen.fillText(round.round, Math.max(half, Math.min(width - half, x + (step - gap) / 2)), height - 3);
      }
      if (round.round === selected) {
        pen.strokeStyle = ink;
        pen.strokeRect(x + .5, .5, step - gap - 1, height - FOOT - 1);
      }
    });
  }

  const isLabelled = at => {
    const every = Math.max(1, Math.ceil(28 / step));
    return (shown.length - 1 - at) % every === 0;
  };

  const roundAt = event => shown[Math.floor(event.offsetX / step)]?.round ?? null;

  function point(round) {
    if (round === selected) return;
    selected = round;
    draw();
    describe();
  }

  function key(event) {
    const at = shown.findIndex(round => round.round === selected);
    const from = at < 0 ? shown.length : at;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined || shown.length === 0) return;
    event.preventDefault();
    point(shown[Math.max(0, Math.min(shown.length - 1, to))].round);
  }

  function describe() {
    const round = shown.find(one => one.round === selected) ?? shown.at(-1);
    sentence(detail, round ? partsOfSentence(round, shown, page.model.rounds) : ['No round is committed yet.']);
    keyed(legend, Object.entries(PARTS), ([part]) => part, ([part, [name, about]]) => h('div', { title: about },
      h('dt', {}, h('i', { class: `swatch ${name} block` }), part), h('dd', { class: 'number' })), (element, [part]) =>
      number(element.lastElementChild, round?.timing?.parts?.[part] ?? null, words.brief, 'it was not written down'));
  }

  return changes => {
    if (!['all', 'rounds', 'theme'].some(one => changes.has(one))) return;
    canvas.setAttribute('aria-label', `Seconds of ${words.counted(page.model.rounds.length, 'round')}. Arrow keys go from round to round.`);
    draw();
    describe();
  };
}

const partsOf = round => round.timing?.parts
  ? Object.keys(PARTS).filter(part => round.timing.parts[part] > 0).map(part => [part, round.timing.parts[part]])
  : [['', round.seconds ?? 0]];

const lengthOf = round => partsOf(round).reduce((sum, [, seconds]) => sum + seconds, 0);

function partsOfSentence(round, shown, all) {
  const { timing } = round;
  const closed = timing?.closedBy ? `, closed ${CLOSED[timing.closedBy] ?? `by ${timing.closedBy}`}` : '';
  const decided = timing?.decidedBy ? ` (${timing.decidedBy} was the last)` : '';
  const attempts = timing?.attempts > 1 ? `, ${timing.attempts} attempts` : '';
  const untold = timing ? '' : round.seconds ? '; its parts were not written down' : '; its time was not measured';
  const part = shown.length < all.length ? ` Shown: rounds ${shown[0].round} to ${shown.at(-1).round}.` : '';
  return [`Round ${round.round}: `, [round.seconds, words.seconds], `${closed}${decided}${attempts}${untold}.${part}`];
}
