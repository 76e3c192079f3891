// Numbers as the terminal's tables show them (Views/Words.cs): the same digits, a dash where there is none.

export const NONE = '-';

const WIDE = 1e5; // from here on by its power of ten
const DIGITS = 15; // that .NET's custom formats look at

export const loss = value => isNumber(value) ? (isWide(value) ? byPower(value) : fixed(value, 3)) : NONE;

export const score = value =>
  isNumber(value) ? (isWide(value) ? byPower(value) : fixed(value, Math.abs(value) > 1 ? 2 : 3)) : NONE;

/** A difference with its sign; none where it rounds to zero. */
export function difference(value) {
  if (!isNumber(value)) return NONE;
  const text = isWide(value) ? byPower(Math.abs(value)) : fixed(Math.abs(value), Math.abs(value) > 1 ? 2 : 3);
  return /[1-9]/.test(text) ? (value < 0 ? '-' : '+') + text : text;
}

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  if (value < 1e3) return `${value} B`;
  if (value < 1e6) return `${fixed(value / 1e3, 1)} kB`;
  return value < 1e9 ? `${fixed(value / 1e6, 1)} MB` : `${fixed(value / 1e9, 2)} GB`;
}

export function seconds(value) {
  if (!isNumber(value) || value <= 0) return NONE;
  if (value < 60) return `${fixed(value, 1)} s`;
  const whole = Math.floor(value);
  if (value < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
}

/** Milliseconds where that is short. */
export const brief = value =>
  isNumber(value) && value > 0 && value < 0.1 ? `${fixed(value * 1e3, value < 0.01 ? 1 : 0)} ms` : seconds(value);

export const count = value => isNumber(value) ? String(value) : NONE;

export const counted = (many, noun) => `${many} ${noun}${many === 1 ? '' : 's'}`;

export const clock = time => new Date(time).toLocaleTimeString('en-GB');

/** For a person, in the browser's time zone; with the day where that is another one. */
export function time(value, now = Date.now()) {
  const date = new Date(value);
  const isToday = date.toDateString() === new Date(now).toDateString();
  return isToday ? clock(date) : `${date.toLocaleDateString('en-CA')} ${clock(date)}`;
}

export const ago = (value, now = Date.now()) => {
  const since = (now - new Date(value).getTime()) / 1e3;
  return since < 1 ? 'now' : `${since < 60 ? `${Math.floor(since)} s` : seconds(since)} ago`;
};

export const isNumber = value => typeof value === 'number' && Number.isFinite(value);

/** Rounds half away from zero at a decimal place, of the first 15 digits, as .NET does. */
export function fixed(value, places) {
  const [mantissa, power] = Math.abs(value).toExponential(DIGITS - 1).split('e');
  const sign = value < 0 ? '-' : '';
  let digits = mantissa.replace('.', '');
  let point = Number(power) + 1; // digits before the decimal point
  if (point < 0) [digits, point] = ['0'.repeat(-point) + digits, 0];
  digits = digits.padEnd(point + places + 1, '0');
  const kept = digits.slice(0, point + places) || '0';
  const rounded = String(BigInt(kept) + (digits[point + places] >= '5' ? 1n : 0n)).padStart(places + 1, '0');
  return sign + (places === 0 ? rounded : `${rounded.slice(0, -places)}.${rounded.slice(-places)}`);
}

const isWide = value => Math.abs(value) >= WIDE;
const byPower = value => value.toExponential(2);
const two = value => String(value).padStart(2, '0');

/** A word of JSON as people read it: `notSelected` is `not selected`. */
export const spaced = word => word.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`);
