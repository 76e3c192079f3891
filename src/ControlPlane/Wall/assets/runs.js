// The page that lists the runs, each with where it stands.

import { get, onSignedOut } from './api.js';
import { fill, h, scroll, show, table } from './dom.js';
import { shown } from './link.js';
import * as theme from './theme.js';
import { count } from './words.js';

const EVERY_MS = 2_000;
const isOfOne = document.documentElement.dataset.one === 'true';
const list = document.getElementById('list');
const link = shown(document.getElementById('link'), document.getElementById('banner'));
const runs = table('Runs', [
  ['run', 'text'], ['plan', 'text'], ['state', 'text'], ['committed', '', 'rounds with an update'], ['waits for', 'text wide'],
]);
const none = h('div', { class: 'empty' },
  h('p', {}, isOfOne ? 'The run has not begun yet; this page goes to it when it has.' : 'There is no run yet. One begins with'),
  isOfOne ? null : h('pre', {}, 'fedrlora submit plan.yaml'));

theme.start(document.getElementById('theme'));
list.append(scroll(runs.element, 'Runs'), none);
onSignedOut(() => link({ state: 'signedOut', since: Date.now() }));
show(none, false);
ask();

async function ask() {
  if (!document.hidden) {
    try {
      draw((await get('/v1/runs')).runs);
      link({ state: 'open', since: Date.now() });
    } catch (error) {
      if (error.status === 401) return;
      link({ state: 'cut', since: Date.now(), error: error.message });
    }
  }
  setTimeout(ask, EVERY_MS);
}

function draw(all) {
  if (isOfOne && all.length > 0) location.replace('/');
  show(none, all.length === 0);
  show(runs.element, all.length > 0);
  const at = document.activeElement?.getAttribute('href');
  fill(runs.body, all.map(run => [
    h('a', { href: `/runs/${encodeURIComponent(run.run)}` }, run.run), run.name,
    h('span', { class: `status ${run.status}` }, run.status),
    h('span', { class: 'number' }, `${count(run.committed)} of ${count(run.rounds)}`), run.hold?.text ?? run.reason ?? '',
  ]), ['text', 'text', 'text', '', 'text wide']);
  if (at) [...runs.body.querySelectorAll('a')].find(one => one.getAttribute('href') === at)?.focus();
}
