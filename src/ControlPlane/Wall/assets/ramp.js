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

  /** Losses and times differ by factors: their colours follow the logarithm, as long as all are above 0. */
  reset(isByRatio = false) {
    [this.least, this.most, this.wantsRatio] = [Infinity, -Infinity, isByRatio];
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

  get isByRatio() {
    return this.wantsRatio && this.least > 0 && this.most > 4 * this.least;
  }

  /** A function from numbers to colours, for the range that is now. */
  colours() {
    const scale = this.isByRatio ? Math.log : value => value;
    const [low, high] = [scale(this.least), scale(this.most)];
    const factor = high > low ? 255 / (high - low) : 0;
    return value => TABLE[factor === 0 ? 128 : Math.max(0, Math.min(255, Math.round((scale(value) - low) * factor)))];
  }
}
