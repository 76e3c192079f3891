// The silo behind the page is killed: the page says that it is cut off and keeps what it had; it goes on at that silo when it is back and
// has let the browser in again, and at another silo as well.
import { equal, link, roundsOf, showRun, shows, visitor } from '../browser.mjs';

export default async ({ browser, says, told, silo, other, run }) => {
  const tab = await visitor(browser, silo);
  tab.expected.push(/ERR_|Failed to load resource/);
  await showRun(tab.page, run);
  await shows(tab.page, 2);
  says('shown');
  await link(tab.page, 'cut');
  equal(await roundsOf(tab.page), { count: 3, last: 2 }, 'what is left when the silo is gone');
  says('cut');

  const [last, entrance] = (await told()).split(' ');
  const beside = await visitor(browser, other);
  await showRun(beside.page, run);
  await shows(beside.page, Number(last));
  await link(tab.page, 'signedOut'); // the silo's memory of browsers went with it
  await tab.open(entrance);
  await tab.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange'))); // the first tab is looked at again
  await shows(tab.page, Number(last));
  const all = { count: Number(last) + 1, last: Number(last) };
  equal(await roundsOf(tab.page), all, 'rounds of the page whose silo was killed');
  equal(await roundsOf(beside.page), all, 'rounds at another silo');
  equal([tab.errors, tab.foreign, beside.errors, beside.foreign], [[], [], [], []], 'errors of the pages, and what they asked of others');
};
