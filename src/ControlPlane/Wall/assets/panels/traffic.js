// 8. Traffic: what sites sent in updates, and how the stores answer.

import { fill, h, scroll, sentence, show, table, text } from '../dom.js';
import * as words from '../words.js';

const SITE_COLUMNS = [
  ['site', 'text'], ['sent', '', 'bytes of updates in the last round'], ['sent in all', '', 'since its silos began'],
  ['received', '', 'bytes of shared states, since its silos began'], ['trained', ''], ['late', ''], ['failed', ''], ['refused', ''],
];
const STORE_COLUMNS = [
  ['silo', 'text'], ['store', 'text'], ['operation', 'text'], ['calls', ''], ['mean', '', 'time until the answer began'],
  ['failures', '', 'calls that failed because the store could not be used; they are tried again'],
];

export function start(section, page) {
  const [sites, stores] = [table('Updates by site', SITE_COLUMNS), table('Stores', STORE_COLUMNS)];
  const [siteNote, storeNote] = [h('p', { class: 'note' }), h('p', { class: 'note' })];
  section.append(h('h3', {}, 'Updates by site'), siteNote, scroll(sites.element, 'Updates by site'),
    h('h3', {}, 'Stores'), storeNote, scroll(stores.element, 'Stores'));

  return changes => {
    if (['all', 'rounds', 'silos'].some(one => changes.has(one))) drawSites();
    if (changes.has('silos')) drawStores();
  };

  function drawSites() {
    const last = page.model.rounds.findLast(round => round.round > 0);
    const totals = (page.silos ?? []).flatMap(silo => silo.now?.traffic?.runs ?? []).filter(one => one.run === page.run);
    show(sites.element, Boolean(last?.sites?.length));
    fill(sites.body, (last?.sites ?? []).map(site => [
      site.site, [site.sentBytes, words.bytes], inAll(totals, site.site, 'sentBytes'), inAll(totals, site.site, 'receivedBytes'),
      [site.trained, words.count], [site.late, words.count], [site.failed, words.count],
      [site.refused, words.count],
    ]), SITE_COLUMNS.map(([, kind]) => kind));
    sentence(siteNote, last ? [`Round ${last.round}: `, [last.updateBytes, words.bytes], ' of updates.'] : ['Nothing was sent yet.']);
  }

  function drawStores() {
    const rows = (page.silos ?? []).flatMap(silo => (silo.now?.traffic?.stores ?? []).map(one => [
      silo.silo, one.store, one.operation, [one.calls, words.count], [one.meanSeconds, words.brief], [one.failures, words.count],
    ]));
    show(stores.element, rows.length > 0);
    fill(stores.body, rows, STORE_COLUMNS.map(([, kind]) => kind));
    text(storeNote, rows.length > 0 ? 'Since each silo began.' : 'No silo tells of its stores.');
  }
}

// A site may have several silos, each of which counts what it saw.
function inAll(totals, site, key) {
  const own = totals.filter(one => one.site === site);
  return [own.length === 0 ? null : own.reduce((sum, one) => sum + one[key], 0), words.bytes, 'no silo keeps the numbers of this run'];
}
