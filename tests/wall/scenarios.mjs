// Runs scenarios in one browser. A line of the input begins one, {"scenario": name, ...}, or is told to the one that runs; lines of the
// output are what it says, {"says": text}, and its end, {"done": true} or {"failed": text}.
import { createInterface } from 'node:readline';
import { launch } from './browser.mjs';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const told = async () => (await lines.next()).value;
const write = line => process.stdout.write(`${JSON.stringify(line)}\n`);
const browser = await launch();
for (let line = await told(); line !== undefined; line = await told()) {
  const { scenario, ...given } = JSON.parse(line);
  try {
    const { default: run } = await import(`./scenarios/${scenario}.mjs`);
    await run({ browser, told, says: text => write({ says: text }), ...given });
    write({ done: true });
  } catch (error) {
    write({ failed: `${error.stack ?? error}` });
  } finally {
    await Promise.all(browser.contexts().map(context => context.close()));
  }
}
await browser.close();
