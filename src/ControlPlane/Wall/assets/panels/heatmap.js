// 4. Clients by round: a cell for each, drawn once; a new round is a new column.

import { get, path } from '../api.js';
import { openClient } from '../client.js';
import { h, show, text } from '../dom.js';
import { readGrid } from '../grid.js';
import { pixel, Ramp } from '../ramp.js';
import * as theme from '../theme.js';
import * as words from '../words.js';

const VALUES = { loss: 'training loss', score: 'score', seconds: 'seconds' };
const FORMATS = { loss: words.loss, score: words.score, seconds: words.seconds };
const OUTCOMES = { n: 'not selected', t: 'trained', f: 'failed', l: 'late', r: 'refused', q: 'in quarantine', s: 'scored' };
const MARKS = { f: 's4', r: 'bad', q: 's3', n: 'none', l: 'none' };
const [LEAST, MOST_WIDE, MOST_TALL, NAMES] = [3, 24, 28, 96];
const [TILE, MOST_ROUNDS] = [64, 4_096]; // columns of a canvas, since a browser copies a whole one that changes; columns that are kept

export function start(section, page) {
  const select = h('select', { 'aria-label': 'Value', change: () => restart() },
    Object.entries(VALUES).map(([value, name]) => h('option', { value }, name)));
  section.querySelector('h2').append(select);
  const tiles = h('div', { class: 'tiles', 'aria-hidden': 'true' });
  const names = h('div', { class: 'names', 'aria-hidden': 'true' });
  const mark = h('i', { class: 'mark', hidden: true });
  const tip = h('p', { class: 'tip', hidden: true });
  const sheet = h('div', { class: 'sheet' }, names, tiles, mark);
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
    ramp.reset(select.value !== 'score');
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
    const old = grid.rounds.length - MOST_ROUNDS;
    if (old <= TILE) return;
    for (const list of [grid.rounds, grid.values, grid.outcomes]) list.splice(0, old);
    drawn = Infinity; // what is drawn is not where it was
  }

  const noteOf = () => grid.rounds.length === 0 ? 'No round is committed yet.'
    : `${words.counted(grid.clients.length, 'client')}, ${VALUES[select.value]}`
      + `${select.value === 'score' && grid.metric ? ` (${grid.metric})` : ''}${ramp.isByRatio ? ', colours by ratio' : ''}.`;

  function layOut() {
    const { width, height } = scroll.getBoundingClientRect();
    size.h = Math.max(LEAST, Math.min(MOST_TALL, Math.floor((height - 2) / Math.max(1, grid.clients.length))));
    const room = width - NAMES - 16;
    const planned = (page.model.state?.rounds ?? 0) + 1;
    size.w = Math.max(LEAST, Math.min(MOST_WIDE, Math.floor(room / Math.max(planned, grid.rounds.length))));
    tiles.replaceChildren();
    tiles.style.height = `${grid.clients.length * size.h}px`;
    nameRows();
    drawFrom(0);
    showLast();
  }

  // The colours and the room stay while they fit; else all is drawn anew. A reader who looks at earlier rounds goes on to.
  function grow() {
    const isAtEnd = scroll.scrollLeft >= drawn * size.w - (scroll.clientWidth - NAMES) - TILE;
    const isOther = ramp.extend(grid.values.slice(drawn), FORMATS[select.value]);
    if (isOther || drawn > grid.rounds.length) layOut();
    else drawFrom(drawn);
    if (isAtEnd) showLast();
  }

  function showLast() {
    scroll.scrollLeft = Math.max(0, grid.rounds.length * size.w - (scroll.clientWidth - NAMES));
  }

  function drawFrom(first) {
    if (grid.clients.length === 0) return;
    ramp.extend(grid.values.slice(first), FORMATS[select.value]);
    const [none, line] = [tokenPixel('none'), tokenPixel('soft')];
    const colours = Object.fromEntries(Object.entries(MARKS).map(([letter, name]) => [letter, tokenPixel(name)]));
    const colourOf = ramp.colours();
    const gap = size.w > 5 && size.h > 5 ? 1 : 0;
    const strip = new ImageData(size.w, grid.clients.length * size.h);
    const pixels = new Uint32Array(strip.data.buffer);
    for (let column = first; column < grid.rounds.length; column++) {
      const [values, letters] = [grid.values[column], grid.outcomes[column]];
      for (let row = 0; row < values.length; row++) {
        const letter = letters[row];
        const colour = colours[letter] ?? (Number.isNaN(values[row]) ? none : colourOf(values[row]));
        for (let y = 0; y < size.h - gap; y++) {
          const from = (row * size.h + y) * size.w;
          for (let x = 0; x < size.w - gap; x++) pixels[from + x] = colour;
          // late is told by lines, not by a colour alone
          if (letter === 'l') for (let x = 3 - y % 4; x < size.w - gap; x += 4) pixels[from + x] = line;
        }
      }
      penOf(column).putImageData(strip, column % TILE * size.w, 0);
    }
    drawn = grid.rounds.length;
  }

  function penOf(column) {
    while (tiles.childElementCount <= column / TILE)
      tiles.append(h('canvas', { width: TILE * size.w, height: grid.clients.length * size.h }));
    return tiles.children[Math.floor(column / TILE)].getContext('2d');
  }

  function nameRows() {
    names.replaceChildren();
    const every = Math.max(1, Math.ceil(14 / size.h));
    grid.clients.forEach((client, row) => {
      if (row % every !== 0) return;
      const name = h('span', { title: client.client }, client.client);
      name.style.top = `${row * size.h + (every === 1 ? (size.h - 14) / 2 : 0)}px`;
      names.append(name);
    });
  }

  const cellAt = event => {
    const box = tiles.getBoundingClientRect();
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

// A colour of tokens.css, all of which are #rrggbb.
const tokenPixel = name => pixel([1, 3, 5].map(at => parseInt(theme.colour(name).slice(at, at + 2), 16)));
