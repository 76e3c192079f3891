// 4. Clients by round: a cell for each, drawn once; a new round is a new column.

import { get, path } from '../api.js';
import { openClient } from '../client.js';
import { h, show, text } from '../dom.js';
import { readGrid } from '../grid.js';
import { Ramp } from '../ramp.js';
import * as theme from '../theme.js';
import * as words from '../words.js';

const VALUES = { loss: 'training loss', score: 'score', seconds: 'seconds' };
const FORMATS = { loss: words.loss, score: words.score, seconds: words.seconds };
const OUTCOMES = { n: 'not selected', t: 'trained', f: 'failed', l: 'late', r: 'refused', q: 'in quarantine', s: 'scored' };
const MARKS = { f: 's4', r: 'bad', q: 's3' };
const [LEAST, MOST_WIDE, MOST_TALL, NAMES, NAMED_FROM] = [3, 18, 20, 96, 10];

export function start(section, page) {
  const select = h('select', { 'aria-label': 'Value', change: () => restart() },
    Object.entries(VALUES).map(([value, name]) => h('option', { value }, name)));
  section.querySelector('h2').append(select);
  const canvas = h('canvas', { 'aria-hidden': 'true' });
  const names = h('div', { class: 'names', 'aria-hidden': 'true' });
  const mark = h('i', { class: 'mark', hidden: true });
  const tip = h('p', { class: 'tip', hidden: true });
  const sheet = h('div', { class: 'sheet' }, names, canvas, mark);
  const scroll = h('div', {
    class: 'cells', tabindex: 0, role: 'application',
    'aria-label': 'Clients by round. Arrow keys go from cell to cell, Enter opens the client.',
    keydown: event => key(event), pointermove: event => point(event), pointerleave: () => show(tip, false),
    click: event => click(event), focus: () => choose(at ?? lastCell()),
  }, sheet);
  const spoken = h('p', { class: 'note', 'aria-live': 'polite' });
  const ramp = new Ramp();
  const marks = h('span', { class: 'marks' }, ['n', 'l', 'f', 'r', 'q'].map(letter =>
    h('span', {}, h('i', { class: `cell ${letter}` }), OUTCOMES[letter])));
  section.append(scroll, h('div', { class: 'scale' }, ramp.element, marks), spoken, tip);
  let [grid, at, size, isAsking, drawn] = [empty(), null, { w: 0, h: 0 }, false, 0];
  new ResizeObserver(() => grid.clients.length > 0 && layOut()).observe(scroll);

  function empty() {
    return { clients: [], rounds: [], values: [], outcomes: [] };
  }

  function restart() {
    grid = empty();
    ramp.reset();
    ask();
  }

  // Only rounds that are not here yet; once more if some were committed meanwhile.
  async function ask() {
    if (isAsking) return;
    isAsking = true;
    try {
      for (let more = true; more;) {
        const value = select.value;
        const after = grid.rounds.at(-1) ?? -1;
        const answer = await get(`${path(page.run)}/grid?value=${value}&after=${after}`);
        if (value !== select.value || after !== (grid.rounds.at(-1) ?? -1)) continue;
        const isFirst = grid.clients.length === 0;
        add(readGrid(answer));
        if (isFirst) layOut();
        else grow();
        more = (page.model.rounds.at(-1)?.round ?? -1) > (grid.rounds.at(-1) ?? -1) && answer.rounds.length > 0;
      }
      text(spoken, noteOf());
    } catch (error) {
      text(spoken, `The cells are not known: ${error.message}`);
    }
    isAsking = false;
  }

  function add(part) {
    grid.metric = part.metric ?? grid.metric;
    grid.clients = part.clients;
    grid.rounds.push(...part.rounds);
    grid.values.push(...part.values);
    grid.outcomes.push(...part.outcomes);
  }

  const noteOf = () => grid.rounds.length === 0 ? 'No round is committed yet.'
    : `${words.counted(grid.clients.length, 'client')}, ${VALUES[select.value]}${grid.metric ? ` (${grid.metric})` : ''}.`;

  function layOut() {
    const { width, height } = scroll.getBoundingClientRect();
    size.h = Math.max(LEAST, Math.min(MOST_TALL, Math.floor((height - 2) / Math.max(1, grid.clients.length))));
    const room = width - NAMES - 16;
    const planned = Math.max(grid.rounds.length, Math.min((page.model.state?.rounds ?? 0) + 1, Math.floor(room / LEAST)));
    size.w = Math.max(LEAST, Math.min(MOST_WIDE, Math.floor(room / Math.max(1, planned))));
    canvas.width = Math.max(planned, grid.rounds.length) * size.w;
    canvas.height = grid.clients.length * size.h;
    canvas.style.width = `${canvas.width}px`;
    canvas.style.height = `${canvas.height}px`;
    nameRows();
    drawFrom(0);
    scroll.scrollLeft = scroll.scrollWidth;
  }

  // The scale and the room stay while they fit; else all is drawn anew.
  function grow() {
    const isWithin = ramp.includes(grid.values.slice(drawn)) && grid.rounds.length * size.w <= canvas.width;
    if (isWithin) drawFrom(drawn);
    else layOut();
  }

  function drawFrom(first) {
    const pen = canvas.getContext('2d');
    ramp.extend(grid.values.slice(first), FORMATS[select.value]);
    const colours = { n: theme.colour('none'), ...Object.fromEntries(Object.entries(MARKS).map(([k, name]) => [k, theme.colour(name)])) };
    const late = hatch(pen, theme.colour('none'), theme.colour('soft'));
    const gap = size.w > 5 && size.h > 5 ? 1 : 0;
    for (let column = first; column < grid.rounds.length; column++) {
      const [values, letters] = [grid.values[column], grid.outcomes[column]];
      pen.clearRect(column * size.w, 0, size.w, canvas.height);
      for (let row = 0; row < values.length; row++) {
        const letter = letters[row];
        const isMarked = letter in MARKS || letter === 'l';
        pen.fillStyle = letter === 'l' ? late : isMarked ? colours[letter]
          : Number.isNaN(values[row]) ? colours.n : ramp.colour(values[row]);
        pen.fillRect(column * size.w, row * size.h, size.w - gap, size.h - gap);
      }
    }
    drawn = grid.rounds.length;
  }

  function nameRows() {
    names.replaceChildren();
    names.classList.toggle('few', size.h < NAMED_FROM);
    const every = Math.max(1, Math.ceil(14 / size.h));
    grid.clients.forEach((client, row) => {
      if (row % every !== 0) return;
      const name = h('span', { title: client.client }, client.client);
      name.style.top = `${row * size.h + (every === 1 ? (size.h - 14) / 2 : 0)}px`;
      names.append(name);
    });
  }

  const cellAt = event => {
    const box = canvas.getBoundingClientRect();
    const [column, row] = [Math.floor((event.clientX - box.left) / size.w), Math.floor((event.clientY - box.top) / size.h)];
    return row >= 0 && row < grid.clients.length ? { column: Math.min(column, grid.rounds.length - 1), row } : null;
  };

  function point(event) {
    const cell = cellAt(event);
    show(tip, cell !== null && cell.column >= 0);
    if (tip.hidden) return;
    text(tip, sentenceOf(cell));
    const box = section.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX - box.left + 12, box.width - 220)}px`;
    tip.style.top = `${event.clientY - box.top + 14}px`;
  }

  function click(event) {
    const cell = cellAt(event);
    if (cell) openClient(page, grid.clients[cell.row]);
  }

  const lastCell = () => grid.clients.length > 0 ? { column: grid.rounds.length - 1, row: 0 } : null;

  function choose(cell) {
    at = cell;
    show(mark, cell !== null);
    if (!cell) return;
    const [left, top] = [cell.column * size.w, cell.row * size.h];
    Object.assign(mark.style, { left: `${left + NAMES}px`, top: `${top}px`, width: `${size.w}px`, height: `${size.h}px` });
    mark.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    text(spoken, sentenceOf(cell));
  }

  function key(event) {
    if (!at) return;
    if (event.key === 'Enter') openClient(page, grid.clients[at.row]);
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [0, -20], PageDown: [0, 20],
      Home: [-1e9, 0], End: [1e9, 0] }[event.key] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
    choose({ column: clamp(at.column + dx, grid.rounds.length), row: clamp(at.row + dy, grid.clients.length) });
  }

  function sentenceOf({ column, row }) {
    const client = grid.clients[row];
    const value = grid.values[column][row];
    const letter = grid.outcomes[column][row];
    const said = Number.isNaN(value) ? `no ${VALUES[select.value]}` : `${VALUES[select.value]} ${FORMATS[select.value](value)}`;
    return `${client.client} (${client.task}, site ${client.site}), round ${grid.rounds[column]}: ${OUTCOMES[letter] ?? letter}, ${said}.`;
  }

  return changes => {
    if (changes.has('redone') || (changes.has('all') && !changes.has('theme'))) restart();
    else if (changes.has('rounds')) ask();
    else if (changes.has('theme') && grid.clients.length > 0) drawFrom(0);
  };
}

// Late clients are told by lines, not by a colour alone.
function hatch(pen, ground, line) {
  const tile = document.createElement('canvas');
  [tile.width, tile.height] = [4, 4];
  const on = tile.getContext('2d');
  on.fillStyle = ground;
  on.fillRect(0, 0, 4, 4);
  on.strokeStyle = line;
  on.beginPath();
  for (const x of [-4, 0, 4]) {
    on.moveTo(x, 4);
    on.lineTo(x + 4, 0);
  }
  on.stroke();
  return pen.createPattern(tile, 'repeat');
}
