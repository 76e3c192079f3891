// Keys of the page, and what they and the marks mean.

import { h } from './dom.js';

const PANELS = { 1: 'now', 2: 'timeline', 3: 'curves', 4: 'heatmap', 5: 'sites', 6: 'result', 7: 'stragglers', 8: 'troubles', 9: 'log' };

const LISTED = [
  ['1 to 9', 'go to now, rounds, curves, clients, sites, result, stragglers, troubles, log'],
  ['Tab, Shift Tab', 'the next and the previous control'],
  ['arrow keys', 'in a chart, the rounds or the clients: the round or client beside; Home and End the first and the last'],
  ['Enter', 'on a client: its numbers'],
  ['Escape', 'closes what has opened'],
  ['t', 'light, dark, or as the system'],
  ['?', 'this'],
];

const MEANS = [
  ['mean, n', 'over all clients, each counting alike; never over a sample'],
  ['p10 to p90', 'the band in which eight of ten clients are'],
  ['worst', 'the client with the largest loss or perplexity, or the smallest other score'],
  ['s.e.', 'standard error over test rows; ~ stands where a difference is inside two of them'],
  ['-', 'a number that is not known; what is said beside it says why'],
];

export function start(button) {
  button.addEventListener('click', open);
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input, select, textarea')) return;
    if (document.querySelector('dialog[open]')) return;
    if (event.key === '?') open();
    else if (event.key === 't') document.getElementById('theme').click();
    else if (event.key in PANELS) go(PANELS[event.key]);
    else return;
    event.preventDefault();
  });
}

function go(id) {
  const section = document.getElementById(id);
  section.scrollIntoView({ block: 'nearest' });
  (section.querySelector('[tabindex="0"], button:not([hidden]), select, a') ?? section).focus();
}

function open() {
  const list = rows => h('dl', { class: 'keys' }, rows.flatMap(([term, about]) => [h('dt', {}, term), h('dd', {}, about)]));
  const dialog = h('dialog', { 'aria-labelledby': 'help-title', close: () => dialog.remove() },
    h('h2', { id: 'help-title' }, 'Keys'), list(LISTED), h('h2', {}, 'What is shown'), list(MEANS),
    h('p', { class: 'buttons' }, h('button', { type: 'button', class: 'main', click: () => dialog.close() }, 'Close')));
  document.body.append(dialog);
  dialog.showModal();
}
