// The silo behind the page is killed: the page says that it is cut off and keeps what it had; it goes on at that silo when it is back and
// has let the browser in again, and at another silo as well.
import { equal, holds, link, roundsOf, showRun, shows, visitor } from '../browser.mjs';

export default async ({ browser, says, told, silo, other, run }) => {
  const tab = await visitor(browser, silo);
  tab.expected.push(/ERR_|Failed to load resource/);
  await showRun(tab.page, run);
  await shows(tab.page, run, 2);
  says('shown');
  await link(tab.page, 'cut');
  const kept = await roundsOf(tab.page, run);
  holds(kept.includes(1), `rounds that are left when the silo is gone: ${kept}`);
  says('cut');

  const [last, entrance] = (await told()).split(' ');
  const beside = await visitor(browser, other);
  await showRun(beside.page, run);
  await shows(beside.page, run, Number(last));
  await link(tab.page, 'signedOut'); // the silo's memory of browsers went with it
  await tab.open(entrance);
  await shows(tab.page, run, Number(last));
  const every = Array.from({ length: Number(last) + 1 }, (_, i) => i);
  equal(await roundsOf(tab.page, run), every, 'rounds of the page whose silo was killed');
  equal(await roundsOf(beside.page, run), every, 'rounds at another silo');
  equal([tab.errors, tab.foreign, beside.errors, beside.foreign], [[], [], [], []], 'errors of the pages, and what they asked of others');
};
