// Debian's chromium, and pages of it that are watched: what goes wrong in them, and whom they ask.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const options = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

export const launch = (...more) => chromium.launch({
  executablePath: ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync), args: [...options, ...more],
});

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A browser of its own, as somebody has it who was let in by `address`, or before with `cookie`; `errors` and `foreign` are to stay empty. */
export async function visitor(browser, address, { headers, cookie, ...look } = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, extraHTTPHeaders: headers, ...look });
  const [errors, foreign, asked] = [[], [], []];
  const { origin } = new URL(address);
  if (cookie) await context.addCookies([{ ...cookie, url: origin }]);
  const expected = []; // what a test brings about by itself, as a server that is away
  context.on('request', request => {
    const url = request.url();
    asked.push(url);
    if (/^(https?|wss?):/.test(url) && new URL(url).origin !== origin) foreign.push(url);
  });
  const wrong = text => expected.some(pattern => pattern.test(text)) || errors.push(text);
  context.on('page', page => {
    page.on('pageerror', error => wrong(`script: ${error.stack ?? error}`));
    page.on('console', message => message.type() === 'error' && wrong(`console: ${message.text()} ${message.location().url}`));
    page.on('dialog', dialog => { wrong(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  });
  const open = async to => {
    const page = await context.newPage();
    await page.goto(to ?? origin);
    return page;
  };
  const first = await open(address);
  return { context, page: first, origin, errors, foreign, asked, expected, open, close: () => context.close() };
}

/** Waits until a round is on the page of a run. */
export const shows = (page, round) => page.waitForFunction(number => Number(
  /^Round (\d+):/.exec(document.querySelector('#timeline p.note')?.textContent)?.[1] ?? -1) >= number, round);

/** How many rounds the page has, and which is the last: a lost or doubled one makes these differ by something else than 1. */
export const roundsOf = page => page.evaluate(() => ({
  count: Number(/Seconds of ([\d,]+) round/.exec(document.querySelector('#timeline canvas').ariaLabel)[1].replaceAll(',', '')),
  last: Number(/^Round (\d+):/.exec(document.querySelector('#timeline p.note').textContent)[1]),
}));

/** What axe-core finds that is serious or worse. */
export async function barriers(page) {
  await page.evaluate(axe); // not a script of the page, which its policy would refuse
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations.filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' ')}`);
}

/** Ends the scenario with what was expected and what is there. */
export function equal(actual, wanted, what) {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(wanted)];
  if (is !== should) throw new Error(`${what}: ${is} instead of ${should}`);
}

export function holds(condition, what) {
  if (!condition) throw new Error(what);
}

/** Goes to a run from wherever the page is, and waits until it is shown. */
export async function showRun(page, run) {
  const there = page.locator('#now .status:not(:empty)');
  const listed = page.locator(`a[href="/runs/${run}"]`);
  await there.or(listed).waitFor(); // a server of one run goes to it by itself
  if (await listed.isVisible()) await listed.click();
  await there.waitFor();
}

/** Waits until the run is in a state. */
export const status = (page, wanted) => page.waitForSelector(`#now .status.${wanted}`);

/** Presses a button of steering and the one that says the same where the page asks whether it is meant. */
export async function steer(page, what) {
  await page.click(`[data-action="${what}"]`);
  await page.click('dialog[open] button[type="submit"]');
  await page.waitForSelector('dialog[open]', { state: 'detached' });
}

/** Waits until the page says that its connection is so: open, cut, signedOut. */
export const link = (page, state) => page.waitForSelector(`#link[data-state="${state}"]`);
