// node bench.mjs ENTRANCE RUN ROUNDS: what the page of a large run costs, as lines for people. A line "round" asks for one more round,
// "visit" for another entrance, which comes as a line of the input.
import { createInterface } from 'node:readline';
import { launch, shows, visitor } from './browser.mjs';
import { probe } from './probe.mjs';

const [entrance, run, rounds, ...options] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = line => process.stdout.write(`${line}\n`);
const ms = value => value === null || value === undefined ? 'never' : `${Math.round(value)} ms`;
const range = values => {
  const sorted = values.toSorted((one, other) => one - other);
  return `median ${ms(sorted[Math.floor(sorted.length / 2)])} (${ms(sorted[0])} to ${ms(sorted.at(-1))})`;
};
const browser = await launch('--enable-precise-memory-info');
const look = options.includes('--phone') ? { viewport: { width: 400, height: 800 } } : {};

const heap = async session => {
  await session.send('HeapProfiler.collectGarbage');
  return ((await session.send('Runtime.getHeapUsage')).usedSize / 1e6).toFixed(1);
};

async function visit(address, feed) {
  const tab = await visitor(browser, address, look);
  const { page, context, origin } = tab;
  page.setDefaultTimeout(300_000); // a cold server reads hundreds of megabytes, and a busy machine is slow
  await page.goto('about:blank');
  await page.addInitScript(probe);
  await page.goto(`${origin}/runs/${run}`); // as somebody comes who has the address
  await page.waitForFunction(() => globalThis.drawn.curves && globalThis.drawn.cells);
  tab.session = await context.newCDPSession(page);
  const { paint, drawn } = await page.evaluate(() => ({
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime, drawn: globalThis.drawn,
  }));
  say(`${feed} feed: first contentful paint ${ms(paint)}, curves ${ms(drawn.curves)}, cells ${ms(drawn.cells)}, `
    + `heap ${await heap(tab.session)} MB`);
  return tab;
}

await (await visit(entrance, 'cold')).close();
say('visit');
const tab = await visit((await lines.next()).value, 'warm');
const { page, session } = tab;
const last = () => page.evaluate(() => Number(/^Round (\d+):/.exec(document.querySelector('#timeline p.note').textContent)[1]));
if (options.includes('--trace')) {
  await session.send('Profiler.enable');
  await session.send('Profiler.start');
}

for (let i = 0; i < Number(rounds); i++) {
  const next = await last() + 1;
  say('round');
  await shows(page, next);
  await page.waitForFunction(round => globalThis.drawn.updates.find(one => one.round === round)?.cells, next);
}

const { updates } = await page.evaluate(() => globalThis.drawn);
say(`from a round's event to the frame with its numbers: ${range(updates.map(one => one.frame))}, `
  + `with its cells: ${range(updates.map(one => one.cells))}, of ${updates.length}; heap ${await heap(session)} MB`);
if (options.includes('--trace')) await busiest();
for (const problem of [...tab.errors, ...tab.foreign]) say(`problem: ${problem}`);
await browser.close();
process.exit(tab.errors.length + tab.foreign.length === 0 ? 0 : 1);

// The functions that the page's thread was busy with, most first.
async function busiest() {
  const { profile } = await session.send('Profiler.stop');
  const names = new Map(profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) =>
    [id, `${functionName || '(anonymous)'} ${url.split('/').pop()}:${lineNumber + 1}`]));
  const sums = {};
  profile.samples.forEach((id, i) => { sums[names.get(id)] = (sums[names.get(id)] ?? 0) + profile.timeDeltas[i] / 1000; });
  for (const [name, time] of Object.entries(sums).toSorted((one, other) => other[1] - one[1]).slice(0, 30)) say(`${ms(time)} ${name}`);
}
