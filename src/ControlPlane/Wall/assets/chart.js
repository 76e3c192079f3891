// A line chart over rounds: uPlot draws it; its legend, its colours and its keys are the page's.

import uPlot from './vendor/uplot/uPlot.esm.js';
import { h, keyed, number, text } from './dom.js';
import * as theme from './theme.js';

const HEIGHT = 150; // until its box is known
const MOST_POINTS = 60; // of more only the line is drawn

/**
 * @param {object} options
 * @param {string} options.label what is drawn, for who does not see it
 * @param {{key: string, name: string, colour: string, dash?: number[], width?: number, isEdge?: boolean, about?: string}[]} options.lines
 * @param {[string, string, string][]} options.bands keys of the upper and the lower edge, and a colour
 * @param {Function} options.format of values
 */
export class Chart {
  constructor({ label, lines, bands = [], format, names }) {
    Object.assign(this, { lines, bands, format, names });
    this.box = h('div', { class: 'plot', tabindex: 0, role: 'img', 'aria-label': `${label}. Arrow keys go from round to round.`,
      keydown: event => this.key(event), blur: () => this.point(null) });
    this.legend = h('dl', { class: 'legend' });
    this.element = h('div', { class: 'chart' }, this.box, this.legend);
    this.data = [[], ...lines.map(() => [])];
    this.errors = [];
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  /** @param {number[]} rounds @param {Object<string, (number|null)[]>} values by key; errors are those of the first line */
  set(rounds, values, errors = []) {
    this.data = [rounds, ...this.lines.map(line => values[line.key] ?? rounds.map(() => null))];
    this.errors = errors;
    if (this.plot) this.plot.setData(this.data);
    else this.resize();
    this.point(this.plot?.cursor.idx ?? null);
  }

  /** Draws with the colours that are now. */
  recolour() {
    this.plot?.redraw(false, true);
    this.point(this.plot?.cursor.idx ?? null);
  }

  resize() {
    const { width, height } = this.box.getBoundingClientRect();
    if (width < 40) return;
    const size = { width: Math.floor(width), height: Math.floor(height) || HEIGHT };
    if (this.plot) this.plot.setSize(size);
    else this.plot = new uPlot(this.options(size), this.data, this.box);
  }

  options(size) {
    const axis = {
      stroke: () => theme.colour('soft'), grid: { stroke: () => theme.colour('rule'), width: 1 }, ticks: { show: false },
      font: '11px system-ui, sans-serif', gap: 4,
    };
    return {
      ...size, legend: { show: false }, padding: [8, 14, 0, 6], scales: { x: { time: false, range: () => this.range() } },
      cursor: { y: false, drag: { setScale: false, x: false }, points: { size: 6 } },
      axes: [
        { ...axis, size: 22, space: 40, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
        { ...axis, size: 44, space: 28, values: (_, splits) => splits.map(value => tick(value)) },
      ],
      series: [{}, ...this.lines.map(line => ({
        stroke: line.isEdge ? 'transparent' : () => theme.colour(line.colour), width: line.isEdge ? 0 : line.width ?? 2, dash: line.dash,
        spanGaps: true, points: { show: () => !line.isEdge && !line.dash && this.data[0].length < MOST_POINTS, size: 4 },
      }))],
      bands: this.bands.map(([upper, lower, colour]) => ({
        series: [this.index(upper), this.index(lower)], fill: () => `${theme.colour(colour)}33`,
      })),
      hooks: { setCursor: [plot => this.point(plot.cursor.idx ?? null)], draw: [plot => this.drawErrors(plot)] },
    };
  }

  // From the first round to the last, two of them at least.
  range() {
    const rounds = this.data[0];
    return rounds.length === 0 ? [0, 1] : [rounds[0], Math.max(rounds.at(-1), rounds[0] + 1)];
  }

  index(key) {
    return this.lines.findIndex(line => line.key === key) + 1;
  }

  // Standard errors as whiskers of the first line.
  drawErrors(plot) {
    const { ctx } = plot;
    ctx.save();
    ctx.strokeStyle = theme.colour(this.lines[0].colour);
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    this.errors.forEach((error, at) => {
      const value = this.data[1][at];
      if (error === null || error === undefined || value === null) return;
      const x = Math.round(plot.valToPos(this.data[0][at], 'x', true));
      const [top, bottom] = [plot.valToPos(value + error, 'y', true), plot.valToPos(value - error, 'y', true)];
      const cap = 3 * devicePixelRatio;
      ctx.moveTo(x, top);
      ctx.lineTo(x, bottom);
      for (const y of [top, bottom]) {
        ctx.moveTo(x - cap, y);
        ctx.lineTo(x + cap, y);
      }
    });
    ctx.stroke();
    ctx.restore();
  }

  key(event) {
    const last = this.data[0].length - 1;
    const from = this.plot?.cursor.idx ?? last;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
    if (to === undefined || !this.plot || last < 0) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(last, to));
    this.plot.setCursor({ left: this.plot.valToPos(this.data[0][index], 'x'), top: 10 });
  }

  /** Shows the numbers of a round in the legend; of the last one for null. */
  point(index) {
    const rounds = this.data[0];
    const at = index ?? rounds.length - 1;
    const shown = this.lines.map((line, row) => ({ line, value: rounds.length === 0 ? null : this.data[row + 1][at] ?? null }));
    const items = [{ line: { key: 'round', name: 'round' }, value: rounds[at] ?? null }, ...shown];
    keyed(this.legend, items, item => item.line.key, item => h('div', { title: item.line.about },
      h('dt', {}, item.line.colour && swatch(item.line), item.line.name), h('dd', { class: 'number' })), (element, item) => {
      const dd = element.lastElementChild;
      number(dd, item.value, item.line.key === 'round' ? value => (value === null ? '-' : String(value)) : this.format);
      const error = item.line === this.lines[0] ? this.errors[at] : null;
      const isKnown = error !== null && error !== undefined;
      if (isKnown) text(dd, `${this.format(item.value)} ± ${this.format(error)}`);
      dd.toggleAttribute('data-error', isKnown);
      if (isKnown) dd.dataset.error = String(error);
    });
  }
}

// A line as it is drawn; colours come from classes, since style attributes are not allowed here.
const swatch = line => h('i', { class: `swatch ${line.colour} ${line.isEdge ? 'band' : line.dash ? 'dashed' : 'solid'}` });

function tick(value) {
  if (value === 0) return '0';
  return Math.abs(value) >= 1e5 || Math.abs(value) < 1e-4 ? value.toExponential(0) : String(Number(value.toPrecision(6)));
}
