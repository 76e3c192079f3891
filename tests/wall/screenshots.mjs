// node tests/wall/screenshots.mjs: pictures of the page for docs/images, of a run of the demo that goes on.
import { spawn } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { launch, shows, showRun, visitor } from './browser.mjs';

const root = resolve(import.meta.dirname, '../..');
const images = join(root, 'docs/images');
const folder = mkdtempSync(join(tmpdir(), 'fedrlora-screenshots-'));
const run = spawn(join(root, 'fedrlora'), ['simulate', 'samples/demo.yaml', '--dashboard', '--out', join(folder, 'demo')],
  { cwd: root, stdio: ['ignore', 'inherit', 'pipe'] });
mkdirSync(images, { recursive: true });
const entrance = await new Promise(found => createInterface({ input: run.stderr }).on('line', line => {
  console.error(line);
  const address = /^dashboard: (\S+)/.exec(line);
  if (address) found(address[1]);
}));

const browser = await launch();
const wide = { width: 1440, height: 900 };
const tab = await visitor(browser, entrance, { viewport: wide, colorScheme: 'light' });
tab.page.setDefaultTimeout(600_000);
await showRun(tab.page, 'demo');
await shows(tab.page, 4); // of eight; the fourth is scored
await picture('wall-light', wide, 'light');
await picture('wall-dark', wide, 'dark');
await picture('wall-phone', { width: 400, height: 800 }, 'light');
await browser.close();
run.kill('SIGINT');
await new Promise(over => run.once('close', over));
rmSync(folder, { recursive: true });
for (const problem of [...tab.errors, ...tab.foreign]) console.error(`problem: ${problem}`);
process.exit(tab.errors.length + tab.foreign.length === 0 ? 0 : 1);

async function picture(name, size, colorScheme) {
  const page = await tab.open(tab.page.url());
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
  await page.reload();
  await showRun(page, 'demo');
  await page.waitForSelector('#curves canvas');
  await page.waitForLoadState('networkidle', { timeout: 3_000 }).catch(() => {}); // its stream never ends
  await page.mouse.move(0, 0);
  const path = join(images, `${name}.png`);
  await page.screenshot({ path });
  console.error(`${path}: ${Math.round(statSync(path).size / 1000)} kB`);
  await page.close();
}
