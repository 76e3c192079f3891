// Eight tabs of a browser on one run: one stream for all of them, also when the tab that holds it is closed, and after the server was away.
import { equal, holds, link, showRun, shows, visitor } from '../browser.mjs';
import { proxy } from '../proxy.mjs';

export default async ({ browser, says, told, entrance, run }) => {
  const between = await proxy(entrance);
  const tab = await visitor(browser, between.entrance);
  tab.expected.push(/ERR_|Failed to load resource/);
  await showRun(tab.page, run);
  const pages = [tab.page];
  for (let i = 1; i < 8; i++) {
    pages.push(await tab.open(tab.page.url()));
    await showRun(pages[i], run);
  }

  says('eight tabs');
  await told();
  await Promise.all(pages.map(page => shows(page, 2)));
  equal(between.streams(), 1, 'streams of eight tabs');

  await pages.shift().close(); // the first one, which began the stream
  says('seven tabs');
  await told();
  await Promise.all(pages.map(page => shows(page, 3)));
  equal(between.streams(), 1, 'streams of seven tabs');

  between.cut();
  await Promise.all(pages.map(page => link(page, 'cut')));
  says('cut');
  await told();
  between.back();
  await Promise.all(pages.map(page => link(page, 'open')));
  await Promise.all(pages.map(page => shows(page, 4)));
  holds(between.most() <= 2, `${between.most()} streams at once, where one takes over from another`);
  equal([tab.errors, tab.foreign], [[], []], 'errors of the page, and what it asked of others');
  between.close();
};
