// Light or dark: as the system has it, unless the reader chose, which is kept.

const KEY = 'fedrlora-theme';
const NAMES = { system: 'as the system', light: 'light', dark: 'dark' };
const changed = new EventTarget();

export function start(button) {
  set(localStorage.getItem(KEY) ?? 'system', button);
  button.addEventListener('click', () => next(button));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => changed.dispatchEvent(new Event('change')));
}

/** Calls when colours are others now. */
export const onChange = call => changed.addEventListener('change', call);

/** A colour of tokens.css as it is now. */
export const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function next(button) {
  const names = Object.keys(NAMES);
  set(names[(names.indexOf(current()) + 1) % names.length], button);
  changed.dispatchEvent(new Event('change'));
}

const current = () => document.documentElement.dataset.theme ?? 'system';

function set(theme, button) {
  if (theme in NAMES && theme !== 'system') document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem(KEY, current());
  button.textContent = { system: '◐', light: '☀', dark: '☾' }[current()];
  button.setAttribute('aria-label', `Colours: ${NAMES[current()]}. Change`);
  button.title = `colours: ${NAMES[current()]}`;
}
