// Light, dark and narrow: readable for all, reached by keys, nothing that scrolls sideways on a phone.
import { barriers, equal, holds, showRun, shows, visitor } from '../browser.mjs';

export default async ({ browser, says, entrances, run, round }) => {
  const looks = [{ colorScheme: 'light' }, { colorScheme: 'dark' }, { colorScheme: 'light', viewport: { width: 400, height: 800 } }];
  for (const [i, look] of looks.entries()) {
    const tab = await visitor(browser, entrances[i], look);
    const { page } = tab;
    await showRun(page, run);
    await shows(page, round);
    equal(await barriers(page), [], `what axe-core finds, ${JSON.stringify(look)}`);
    const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    holds(content <= window, `${content} pixels of content in ${window}`);
    if (i === 0) await keys(page);
    equal([tab.errors, tab.foreign], [[], []], 'errors of the page, and what it asked of others');
    says(`${JSON.stringify(look)}`);
  }
};

async function keys(page) {
  const focused = () => page.evaluate(() => document.activeElement.dataset.action);
  for (let i = 0; i < 60 && await focused() !== 'pause'; i++) await page.keyboard.press('Tab');
  equal(await focused(), 'pause', 'what keys reach');
  await page.keyboard.press('Enter');
  await page.waitForSelector('dialog[open]');
  holds(await page.evaluate(() => document.querySelector('dialog[open]').contains(document.activeElement)), 'the dialog has no focus');
  equal(await barriers(page), [], 'what axe-core finds in the dialog');
  await page.keyboard.press('Escape');
  await page.waitForSelector('dialog[open]', { state: 'detached' });
  equal(await focused(), 'pause', 'where the focus is after the dialog');
}
