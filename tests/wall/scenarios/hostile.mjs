// Reasons that would be markup are shown as text wherever they stand.
import { equal, holds, showRun, shows, visitor } from '../browser.mjs';

export default async ({ browser, entrance, run, round, texts }) => {
  const tab = await visitor(browser, entrance);
  const { page } = tab;
  await showRun(page, run);
  await shows(page, round);
  for (const text of texts)
    await page.waitForFunction(wanted => document.documentElement.textContent.includes(wanted), text);
  equal(await page.$$eval('img, script:not([src])', ones => ones.map(one => one.outerHTML)), [], 'elements that a name became');
  holds(!await page.evaluate(() => globalThis.alerted), 'a script of a name ran');
  equal([tab.errors, tab.foreign], [[], []], 'errors of the page, and what it asked of others');
};
