// Colours of numbers, from dark blue to yellow: of even steps in lightness, also for the colour-blind (after cividis).

import { h, number } from './dom.js';

const STOPS = [[0, 32, 77], [60, 77, 110], [124, 123, 120], [187, 175, 105], [255, 234, 70]];
const TABLE = Array.from({ length: 256 }, (_, at) => {
  const place = at / 255 * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(place));
  const share = place - below;
  return `rgb(${STOPS[below].map((one, channel) => Math.round(one + share * (STOPS[below + 1][channel] - one))).join()})`;
});

export class Ramp {
  constructor() {
    [this.low, this.high] = [h('span', { class: 'number' }), h('span', { class: 'number' })];
    this.element = h('span', { class: 'ramp', hidden: true }, this.low, h('i'), this.high);
    this.reset();
  }

  reset() {
    [this.least, this.most] = [Infinity, -Infinity];
    this.element.hidden = true;
  }

  /** Whether all the numbers have a colour already. */
  includes(columns) {
    return columns.every(column => column.every(value => !Number.isFinite(value) || (value >= this.least && value <= this.most)));
  }

  /** Makes room for numbers. */
  extend(columns, format) {
    for (const column of columns) {
      for (const value of column) {
        if (!Number.isFinite(value)) continue;
        if (value < this.least) this.least = value;
        if (value > this.most) this.most = value;
      }
    }
    this.element.hidden = this.least > this.most;
    if (this.element.hidden) return;
    number(this.low, this.least, format);
    number(this.high, this.most, format);
  }

  colour(value) {
    const share = this.most > this.least ? (value - this.least) / (this.most - this.least) : 0.5;
    return TABLE[Math.max(0, Math.min(255, Math.round(share * 255)))];
  }
}
