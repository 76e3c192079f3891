// node bench.mjs ENTRANCE RUN ROUNDS: what the page of a large run costs, as lines for people. A line "round" asks for one more round,
// "visit" for another entrance, which comes as a line of the input.
import { createInterface } from 'node:readline';
import { launch, visitor } from './browser.mjs';

const [entrance, run, rounds, ...options] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = line => process.stdout.write(`${line}\n`);
const ms = value => value === undefined ? 'not drawn' : `${Math.round(value)} ms`;
const middle = values => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];
const browser = await launch('--js-flags=--expose-gc', '--enable-precise-memory-info');
const look = options.includes('--phone') ? { viewport: { width: 400, height: 800 } } : {};

const mark = (page, name, round) => page.evaluate(([wanted, number]) => performance.getEntriesByName(wanted)
  .find(one => number === null || one.detail.round === number)?.startTime, [name, round ?? null]);
const heap = async page => {
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  return ((await session.send('Runtime.getHeapUsage')).usedSize / 1e6).toFixed(1);
};

async function visit(address, feed) {
  const tab = await visitor(browser, address, look);
  const { page } = tab;
  await page.goto(`${tab.origin}/#${run}`); // as somebody comes who has the address
  const drawn = name => page.waitForFunction(wanted => performance.getEntriesByName(wanted).length > 0, name);
  await Promise.all([drawn('wall.curves'), drawn('wall.heatmap')]);
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime);
  say(`${feed} feed: first contentful paint ${ms(paint)}, curves ${ms(await mark(page, 'wall.curves'))}, `
    + `heatmap ${ms(await mark(page, 'wall.heatmap'))}, heap ${await heap(page)} MB`);
  return tab;
}

const cold = await visit(entrance, 'cold');
await cold.close();
say('visit');
const tab = await visit((await lines.next()).value, 'warm');
const { page } = tab;
const committed = () => page.evaluate(name => Number(
  [...document.querySelectorAll('[data-run][data-committed]')].find(one => one.dataset.run === name).dataset.committed), run);
const session = await page.context().newCDPSession(page);
if (options.includes('--trace')) await session.send('Profiler.enable').then(() => session.send('Profiler.start'));
const updates = [];
for (let i = 0; i < Number(rounds); i++) {
  const next = await committed() + 1;
  say('round');
  await page.waitForFunction(number => performance.getEntriesByName('wall.painted').some(one => one.detail.round === number), next);
  updates.push(await mark(page, 'wall.painted', next) - await mark(page, 'wall.event', next));
}
say(`update, from event to painted frame: median ${ms(middle(updates))}, from ${ms(Math.min(...updates))} to ${ms(Math.max(...updates))} `
  + `of ${updates.length}; heap ${await heap(page)} MB`);
if (options.includes('--trace')) {
  const { profile } = await session.send('Profiler.stop');
  const own = new Map();
  profile.samples.forEach((id, i) => own.set(id, (own.get(id) ?? 0) + profile.timeDeltas[i] / 1000));
  const names = new Map(profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) =>
    [id, `${functionName || '(anonymous)'} ${url.split('/').pop()}:${lineNumber + 1}`]));
  const sums = new Map();
  for (const [id, time] of own) sums.set(names.get(id), (sums.get(names.get(id)) ?? 0) + time);
  for (const [name, time] of [...sums].toSorted((one, other) => other[1] - one[1]).slice(0, 25)) say(`${time.toFixed(0)} ms ${name}`);
}
for (const problem of [...tab.errors, ...tab.foreign]) say(`problem: ${problem}`);
await browser.close();
process.exit(tab.errors.length + tab.foreign.length === 0 ? 0 : 1);
