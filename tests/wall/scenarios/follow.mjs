// A run in a process of its own: each round is on the page when it is committed, and the run is paused, resumed and cancelled from it.
import http from 'node:http';
import { equal, holds, roundsOf, showRun, status, steer, visitor } from '../browser.mjs';

export default async ({ browser, says, entrance, run }) => {
  const tab = await visitor(browser, entrance);
  const { page, context, origin } = tab;
  await showRun(page, run);
  const rounds = await listen(context, origin, run);
  await page.evaluate(() => {
    globalThis.seen = [];
    const look = () => {
      const round = Number(/^Round (\d+):/.exec(document.querySelector('#timeline p.note')?.textContent)?.[1] ?? -1);
      if (round >= 0 && globalThis.seen.at(-1)?.round !== round) globalThis.seen.push({ round, at: Date.now() });
    };
    look();
    new MutationObserver(look).observe(document.getElementById('timeline'), { childList: true, characterData: true, subtree: true });
  });
  await page.waitForFunction(() => globalThis.seen.length >= 4);

  await steer(page, 'pause');
  await status(page, 'paused');
  await steer(page, 'resume');
  await status(page, 'running');
  const before = await page.evaluate(() => globalThis.seen.at(-1).round);
  await page.waitForFunction(round => globalThis.seen.at(-1).round > round, before);
  await steer(page, 'cancel');
  await status(page, 'cancelled');

  const seen = await page.evaluate(() => globalThis.seen);
  holds(seen.every((one, i) => i === 0 || one.round > seen[i - 1].round), `rounds as they came on the page: ${seen.map(one => one.round)}`);
  const { count, last } = await roundsOf(page);
  equal(count, last + 1, 'rounds that the page has');
  const late = seen.slice(1).filter(one => rounds.has(one.round)).map(one => one.at - rounds.get(one.round)).toSorted((a, b) => a - b);
  holds(late.length >= 2, `rounds that a listener beside the page heard: ${late.length}`);
  says(`${late.length} rounds were on the page ${late[Math.floor(late.length / 2)]} ms (median) and at most ${late.at(-1)} ms `
    + 'after a listener beside it had heard them');
  equal([tab.errors, tab.foreign], [[], []], 'errors of the page, and what it asked of others');
};

// When somebody beside the page hears of each round.
async function listen(context, origin, run) {
  const rounds = new Map();
  const cookie = (await context.cookies()).map(one => `${one.name}=${one.value}`).join('; ');
  const stream = await new Promise((begun, failed) => {
    http.get(`${origin}/v1/runs/${run}/events`, { headers: { cookie } }, begun).on('error', failed);
  });
  equal(stream.statusCode, 200, 'answer to a listener');
  let text = '';
  stream.setEncoding('utf8').on('data', piece => {
    const events = (text + piece).split('\n\n');
    text = events.pop();
    for (const event of events) {
      const [, round] = /^event: round\ndata: (.*)/m.exec(event) ?? [];
      if (round) rounds.set(JSON.parse(round).round, Date.now());
    }
  });
  stream.on('error', () => {}); // it ends with the run's process
  return rounds;
}
