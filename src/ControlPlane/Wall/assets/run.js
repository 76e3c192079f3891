// The page of a run: events go into the model, and each panel shows its part once a frame.

import { get, onSignedOut, path } from './api.js';
import { oncePerFrame, text } from './dom.js';
import * as keys from './keys.js';
import { shown } from './link.js';
import { RunModel } from './model.js';
import * as compare from './panels/compare.js';
import * as curves from './panels/curves.js';
import * as drift from './panels/drift.js';
import * as heatmap from './panels/heatmap.js';
import * as log from './panels/log.js';
import * as now from './panels/now.js';
import * as result from './panels/result.js';
import * as sites from './panels/sites.js';
import * as stragglers from './panels/stragglers.js';
import * as timeline from './panels/timeline.js';
import * as traffic from './panels/traffic.js';
import * as troubles from './panels/troubles.js';
import { whileSeen } from './seen.js';
import { Stream } from './stream.js';
import * as theme from './theme.js';

const LOOK_FOR_LOCAL_MS = 10_000;
const { steers, token, one } = document.documentElement.dataset;
const run = decodeURIComponent(location.pathname.split('/')[2]);
const at = id => document.getElementById(id);

const page = {
  run, model: new RunModel(run), local: null, result: null,
  steers: steers === 'true', asksToken: token === 'true', isOfOne: one === 'true',
};
const panels = Object.entries({
  now, timeline, curves, heatmap, sites, result, stragglers, troubles, traffic, drift, compare, log,
}).map(([id, panel]) => whileSeen(at(id), panel.start(at(id), page)));
const link = shown(at('link'), at('banner'));
let [linkNow, changes] = [{ state: 'trying', since: Date.now() }, new Set()];

const draw = oncePerFrame(() => {
  const taken = changes;
  changes = new Set();
  for (const panel of panels) panel(taken);
  if (page.model.state) text(at('plan-name'), page.model.state.name === run ? '' : page.model.state.name);
  link(staleOr(linkNow));
});

page.changed = (...what) => {
  for (const one of what) changes.add(one);
  draw();
};

at('run-name').textContent = run;
at('report').href = `${path(run)}/report`;
document.title = `${run} - FedRLora`;
theme.start(at('theme'));
theme.onChange(() => page.changed('all', 'theme'));
keys.start(at('help'));
onSignedOut(() => hear({ state: 'signedOut', since: Date.now() }));

const stream = new Stream([run], {
  event: ({ run: of, event, data }) => take(of, model => model.take(event, data)),
  restore: ({ run: of, model: known }) => take(of, model => model.restore(known)),
  link: hear,
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && ['cut', 'signedOut'].includes(linkNow.state)) stream.again(); // another tab may have been let in
});

function take(of, change) {
  const model = of === run ? page.model : page.local;
  if (!model) return;
  const before = model.state?.status;
  const what = change(model);
  if (of !== run) return page.changed('local');
  page.changed(...what);
  if (what.includes('all') || what.includes('rounds')) askResult();
  if (model.state?.status !== before) lookForLocal();
}

function hear(now) {
  linkNow = now;
  page.changed('link');
}

// A silo answers although the run's coordinator does not: what it says may be old.
const staleOr = now => now.state === 'open' && page.model.state?.staleSince
  ? { state: 'stale', since: page.model.state.staleSince, error: page.model.state.staleReason ?? 'The coordinator does not answer.' }
  : now;

let [isAsking, asksAgain] = [false, false];

// The final table as of what is committed; asked for again only when it is there, however fast rounds are.
async function askResult() {
  asksAgain = true;
  if (isAsking) return;
  for (isAsking = true; asksAgain;) {
    asksAgain = false;
    try {
      page.result = await get(`${path(run)}/result`);
      page.resultTrouble = null;
    } catch (error) {
      page.resultTrouble = error.message;
    }
    page.changed('result');
  }
  isAsking = false;
}

// The reference begins when the run is finished.
async function lookForLocal() {
  const name = page.model.localOnlyRun;
  if (!name || page.local) return;
  const runs = await get('/v1/runs').then(list => list.runs, () => []);
  if (runs.some(one => one.run === name)) {
    page.local = new RunModel(name);
    stream.follow([run, name]);
  } else if (page.model.state?.status === 'finished') {
    setTimeout(lookForLocal, LOOK_FOR_LOCAL_MS);
  }
}
