// Colours of numbers, from dark blue to yellow: of even steps in lightness, also for the colour-blind (after cividis).

import { h, text } from './dom.js';

const STOPS = [[0, 32, 77], [60, 77, 110], [124, 123, 120], [187, 175, 105], [255, 234, 70]];
const TABLE = Uint32Array.from({ length: 256 }, (_, at) => {
  const place = at / 255 * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(place));
  return pixel(STOPS[below].map((one, channel) => one + (place - below) * (STOPS[below + 1][channel] - one)));
});

/** Red, green and blue as a pixel of a canvas. */
export function pixel([red, green, blue]) {
  return (255 << 24 | Math.round(blue) << 16 | Math.round(green) << 8 | Math.round(red)) >>> 0;
}

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

  /** Makes room for numbers, and some more, so that the next ones fit too; says whether colours are others now. */
  extend(columns, format) {
    let [low, high] = [Infinity, -Infinity];
    for (const column of columns) {
      for (const value of column) {
        if (value < low && value > -Infinity) low = value;
        if (value > high && value < Infinity) high = value;
      }
    }
    if (low > high || (low >= this.least && high <= this.most)) return false;
    const isFirst = this.least > this.most;
    if (low < this.least) this.least = isFirst ? low : this.wantsRatio && low > 0 ? low / 2 : low;
    if (high > this.most) this.most = high;
    this.element.hidden = false;
    text(this.low, format(this.least));
    text(this.high, format(this.most));
    return true;
  }

  get isByRatio() {
    return this.wantsRatio && this.least > 0 && this.most > 4 * this.least;
  }

  /** A function from numbers to pixels, for the range that is now. */
  colours() {
    const scale = this.isByRatio ? Math.log : value => value;
    const [low, high] = [scale(this.least), scale(this.most)];
    const factor = high > low ? 255 / (high - low) : 0;
    return value => TABLE[factor === 0 ? 128 : Math.max(0, Math.min(255, Math.round((scale(value) - low) * factor)))];
  }
}
