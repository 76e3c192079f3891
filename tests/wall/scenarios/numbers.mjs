// All numbers of a run's page, exactly as it has them: {where, round, name, value, error}, told in one line.
import { equal, showRun, shows, visitor } from '../browser.mjs';

export default async ({ browser, says, origin, cookie, run, last, tasks, client }) => {
  const tab = await visitor(browser, origin, { cookie, viewport: { width: 1400, height: 6000 } }); // all panels are seen
  const { page } = tab;
  await showRun(page, run);
  await shows(page, last);
  await page.waitForFunction(() => document.querySelector('#result table')
    && document.querySelector('#stragglers tbody tr') && document.querySelector('#stragglers p.note .number'));
  await page.waitForFunction(() => [...document.querySelectorAll('#curves .chart')].every(chart =>
    [...chart.querySelectorAll('.legend div')].some(one => /^local-only/.test(one.textContent) && one.querySelector('[data-value]'))));
  const all = [];
  const take = async (where, selector) => all.push(...await page.evaluate(([where, selector]) => {
    const items = [...document.querySelector(selector).querySelectorAll('.legend > div')].map(one => one.lastElementChild);
    const named = items.map(dd => [dd.previousElementSibling.textContent, dd]);
    const round = Number(named.find(([name]) => name === 'round')?.[1].dataset.value
      ?? /^Round (\d+)/.exec(document.querySelector(`${selector} p.note`).textContent)[1]);
    return named.map(([name, { dataset }]) => ({ where, round, name, value: dataset.value ?? null, error: dataset.error ?? null }));
  }, [where, selector]));
  const walk = async (where, selector, focus, first, each = () => {}) => {
    await page.locator(`${selector} ${focus}`).focus();
    for (let round = first; round <= last; round++) {
      await page.keyboard.press(round === first ? 'Home' : 'ArrowRight');
      await take(where, selector);
      await each(round);
    }
  };

  const curves = async where => {
    await walk(`${where}score`, '#curves .pair > div:first-child', '.plot', 0);
    await walk(`${where}loss`, '#curves .pair > div:last-child', '.plot', 1);
    await noteOf(`${where}score`, '#curves .pair > div:first-child p.note');
    await noteOf(`${where}loss`, '#curves .pair > div:last-child p.note');
  };
  const noteOf = async (where, selector) => {
    const values = await page.locator(selector).locator('.number').evaluateAll(found => found.map(one => one.dataset.value ?? null));
    values.forEach((value, at) => all.push({ where, round: last, name: `note ${at}`, value, error: null }));
  };
  await curves('');
  for (const [task, clients] of tasks) {
    await page.selectOption('#curves select', task);
    await page.waitForFunction(many => document.querySelector('#curves p.note .number')?.dataset.value === many, String(clients));
    await curves(`${task} `);
  }
  await walk('norm', '#drift .pair > div:first-child', '.plot', 1);
  await walk('coherence', '#drift .pair > div:last-child', '.plot', 1);
  await noteOf('norm', '#drift p.note');
  await walk('timeline', '#timeline', 'canvas', 0, async round => all.push({
    where: 'timeline', round, name: 'seconds', error: null,
    value: await page.locator('#timeline p.note .number').getAttribute('data-value'),
  }));
  await noteOf('client seconds', '#stragglers p.note >> nth=0');
  await noteOf('bytes', '#traffic p.note >> nth=0');

  // Tables: the first cell of a row says of what it is, the head what a cell is; a head that comes twice is of the one before.
  const rows = async (where, selector) => all.push(...await page.locator(`${selector} tbody tr`).evaluateAll((found, where) =>
    found.flatMap(row => {
      const heads = [...row.closest('table').querySelectorAll('th')].map(one => one.textContent);
      const round = Number(row.cells[0].dataset.value ?? -1);
      return [...row.cells].map((cell, at) => ({
        where: `${where} ${row.cells[0].textContent}`, round, name: heads[at] === 's.e.' ? `${heads[at - 1]} s.e.` : heads[at],
        value: cell.dataset.value ?? null, error: null, text: cell.textContent,
      }));
    }), where));
  await rows('result', '#result');
  await page.selectOption('#result select', 'tasks');
  await rows('result by task', '#result');
  await rows('stragglers', '#stragglers');
  await rows('troubles', '#troubles');
  await page.click(`#stragglers button:text-is("${client}")`);
  await page.waitForSelector('dialog.client tbody tr');
  await rows('client', 'dialog.client');
  equal([tab.errors, tab.foreign], [[], []], 'errors of the page, and what it asked of others');
  says(JSON.stringify(all));
};
