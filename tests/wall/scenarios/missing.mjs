// A run before its first round, a server without runs, and a client without a loss: the page says what is not there.
import { equal, holds, showRun, shows, visitor } from '../browser.mjs';

export default async ({ browser, says, told, entrance, run, client }) => {
  const tab = await visitor(browser, entrance);
  const { page } = tab;
  await page.waitForFunction(() => /no runs?\b|there is no run/i.test(document.body.innerText));
  says('empty');
  await told(); // the run has begun
  await showRun(page, run);
  await shows(page, 0);
  says('round 0');
  await told();
  await shows(page, 2);
  await page.waitForFunction(name => document.getElementById('troubles').innerText.includes(name)
    && /1 left out/.test(document.getElementById('curves').innerText), client);
  const text = await page.evaluate(() => document.body.innerText);
  holds(!/\b(NaN|undefined|Infinity|\[object)/.test(text.replaceAll('"NaN"', '')), `no number stands as one: ${/.{40}(NaN|undefined|Infinity|\[object).{20}/s.exec(text)}`);
  equal([tab.errors, tab.foreign], [[], []], 'errors of the page, and what it asked of others');
};
