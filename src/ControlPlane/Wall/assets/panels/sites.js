// 5. Sites: which are there, when they were last heard, and how the silos that serve them are.

import { get } from '../api.js';
import { fill, h, scroll, table, text } from '../dom.js';
import * as words from '../words.js';

const EVERY_MS = 5_000;
const COLUMNS = [
  ['site', 'text'], ['state', 'text'], ['heard', '', 'when a client of it last reported'], ['clients', ''], ['silo', 'text'],
  ['device', 'text'], ['memory', '', 'of the silo\'s process, and what it may have'], ['queue', '', 'lanes at work, and work that waits'],
  ['version', 'text'], ['engine', 'text', 'what bits depend on'],
];

export function start(section, page) {
  const sites = table('Sites', COLUMNS);
  const note = h('p', { class: 'note' }, 'The sites are known when the run is.');
  section.append(scroll(sites.element, 'Sites'), note);
  page.silos = null;
  ask();

  async function ask() {
    if (!document.hidden && !page.model.gone) {
      try {
        [page.silos, page.silosTrouble] = [(await get('/v1/silos')).silos, null];
      } catch (error) {
        page.silosTrouble = error.message;
      }
      page.changed('silos');
    }
    setTimeout(ask, EVERY_MS);
  }

  return changes => {
    if (!['all', 'silos', 'state', 'clients'].some(one => changes.has(one)) || page.model.sites.length === 0) return;
    const silos = page.silos ?? [];
    const usual = mostFrequent(silos.map(silo => silo.now?.device?.engine).filter(Boolean));
    fill(sites.body, page.model.sites.flatMap(site => rowsOf(site, silos, usual)), COLUMNS.map(([, kind]) => kind));
    text(note, noteOf(page, silos, usual));
  };
}

function rowsOf(site, silos, usual) {
  const serving = silos.filter(silo => silo.sites.includes(site.site) || silo.sites.includes('*'));
  const state = site.absent
    ? h('span', { class: 'bad' }, `absent${words.isNumber(site.absentSeconds) ? ` for ${words.seconds(site.absentSeconds)}` : ''}`)
    : h('span', { class: 'good' }, 'alive');
  const heard = h('span', { class: 'number', 'data-value': site.lastHeard }, site.lastHeard ? words.ago(site.lastHeard) : words.NONE);
  const first = [site.site, state, heard, [site.clients, words.count]];
  if (serving.length === 0) return [[...first, site.lastSilo ? `last ${site.lastSilo}` : words.NONE, '', '', '', '', '']];
  return serving.map((silo, at) => [...(at === 0 ? first : ['', '', '', '']), silo.silo, ...siloCells(silo, usual)]);
}

function siloCells({ now, problem }, usual) {
  if (!now) return [h('span', { class: 'bad' }, problem ?? 'it does not answer'), '', '', '', ''];
  const { device } = now;
  const isNear = now.memoryLimitBytes > 0 && now.memoryBytes > 0.9 * now.memoryLimitBytes;
  return [
    device?.name ?? words.NONE,
    h('span', { class: isNear ? 'number bad' : 'number', 'data-value': now.memoryBytes, title: `of ${words.bytes(now.memoryLimitBytes)}` },
      `${words.bytes(now.memoryBytes)}${isNear ? `, near its limit of ${words.bytes(now.memoryLimitBytes)}` : ''}`),
    device ? queue(device) : words.NONE,
    now.version.split('+')[0],
    device ? engine(device.engine, usual) : words.NONE,
  ];
}

const queue = ({ busy, lanes, queued }) =>
  h('span', { class: 'number', 'data-value': queued }, `${busy}/${lanes} busy, ${queued} wait`);

const engine = (own, usual) => own === usual
  ? h('span', { title: own }, 'same')
  : h('strong', { class: 'bad', title: `${own}; the others have ${usual}` }, `differs: ${own}`);

function mostFrequent(all) {
  const counts = new Map();
  for (const one of all) counts.set(one, (counts.get(one) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
}

function noteOf(page, silos, usual) {
  if (page.silosTrouble) return `How the silos are is not known: ${page.silosTrouble}`;
  const troubled = silos.filter(silo => silo.now?.storeTrouble).map(silo => `${silo.silo}: ${silo.now.storeTrouble}`);
  return [`${words.counted(page.model.sites.length, 'site')}, ${words.counted(silos.length, 'silo')}.`,
    usual ? `Engine ${usual}.` : '', ...troubled].join(' ');
}
