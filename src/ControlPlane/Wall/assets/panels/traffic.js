// 8. Traffic: what sites sent in updates, and how the stores answer.

import { fill, h, scroll, show, table, text } from '../dom.js';
import * as words from '../words.js';

const SITE_COLUMNS = [
  ['site', 'text'], ['sent', '', 'bytes of updates in the last round'], ['trained', ''], ['late', ''], ['failed', ''], ['refused', ''],
];
const STORE_COLUMNS = [
  ['silo', 'text'], ['store', 'text'], ['operation', 'text'], ['calls', ''], ['mean', '', 'time of a call'], ['failures', ''],
  ['retries', ''],
];

export function start(section, page) {
  const [sites, stores] = [table('Updates by site', SITE_COLUMNS), table('Stores', STORE_COLUMNS)];
  const [siteNote, storeNote] = [h('p', { class: 'note' }), h('p', { class: 'note' })];
  section.append(h('h3', {}, 'Updates by site'), siteNote, scroll(sites.element, 'Updates by site'),
    h('h3', {}, 'Stores'), storeNote, scroll(stores.element, 'Stores'));

  return changes => {
    if (changes.has('all') || changes.has('rounds')) drawSites();
    if (changes.has('silos')) drawStores();
  };

  function drawSites() {
    const last = page.model.rounds.findLast(round => round.round > 0);
    show(sites.element, Boolean(last?.sites?.length));
    fill(sites.body, (last?.sites ?? []).map(site => [
      site.site, [site.sentBytes, words.bytes], [site.trained, words.count], [site.late, words.count], [site.failed, words.count],
      [site.refused, words.count],
    ]), SITE_COLUMNS.map(([, kind]) => kind));
    text(siteNote, last ? `Round ${last.round}: ${words.bytes(last.updateBytes)} of updates.` : 'Nothing was sent yet.');
  }

  function drawStores() {
    const rows = (page.silos ?? []).flatMap(silo => (silo.traffic?.stores ?? []).map(one => [
      silo.silo, one.store, one.operation, [one.calls, words.count], [one.meanSeconds, words.brief], [one.failures, words.count],
      [one.retries, words.count],
    ]));
    show(stores.element, rows.length > 0);
    fill(stores.body, rows, STORE_COLUMNS.map(([, kind]) => kind));
    text(storeNote, rows.length > 0 ? 'Since each silo began.' : 'No silo tells of its stores.');
  }
}
