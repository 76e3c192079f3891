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
  const said = id => page.evaluate(of => document.getElementById(of).innerText, id);
  await page.locator('#troubles').scrollIntoViewIfNeeded(); // what is not seen is not drawn
  await page.waitForFunction(name => document.getElementById('troubles').innerText.includes(name), client);
  holds(/1 left out/.test(await said('curves')), `what is said of the means: ${await said('curves')}`);
  const text = (await page.evaluate(() => document.body.innerText)).replaceAll('Its mean loss is NaN.', '');
  const odd = /.{0,40}\b(NaN|undefined|Infinity|\[object).{0,20}/.exec(text);
  holds(odd === null, `what stands where a number would: ${odd?.[0]}`);
  equal([tab.errors, tab.foreign], [[], []], 'errors of the page, and what it asked of others');
};
