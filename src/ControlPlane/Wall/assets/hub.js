// One stream of events for all tabs. Each tab has a port and says which runs it shows; the hub follows all of them at once.

import { RunModel } from './model.js';
import { EventStream } from './sse.js';

export class Hub {
  constructor() {
    [this.ports, this.models, this.lastIds, this.stream, this.following] = [new Map(), new Map(), new Map(), null, ''];
    this.linkNow = { state: 'trying', since: Date.now() };
  }

  /** A tab comes. It goes when it says so, or when the lock that it holds as long as it lives is free. */
  attach(port) {
    port.onmessage = ({ data }) => {
      if (data.type === 'follow') this.follow(port, data);
      else if (data.type === 'bye') this.detach(port);
      else if (data.type === 'again') this.again();
    };
    port.start?.();
  }

  follow(port, { runs, lock }) {
    const isNew = !this.ports.has(port);
    const before = this.ports.get(port) ?? new Set();
    this.ports.set(port, new Set(runs));
    if (isNew && lock) navigator.locks?.request(lock, () => this.detach(port));
    for (const run of runs) {
      const model = this.models.get(run);
      if (!before.has(run) && model && (model.isKnown || model.gone)) port.postMessage({ type: 'restore', run, model: model.snapshot() });
    }
    if (this.linkNow.state === 'signedOut') this.following = ''; // the browser may have been let in again
    else port.postMessage({ type: 'link', ...this.linkNow });
    this.connect();
  }

  detach(port) {
    if (this.ports.delete(port)) this.connect();
  }

  /** Tries at once. */
  again() {
    this.following = '';
    this.connect();
  }

  connect() {
    const runs = [...new Set([...this.ports.values()].flatMap(shown => [...shown]))].sort();
    for (const run of this.models.keys()) {
      if (runs.includes(run)) continue;
      this.models.delete(run);
      this.lastIds.delete(run);
    }
    if (runs.join() === this.following) return;
    this.following = runs.join();
    this.stream?.close();
    this.stream = null;
    for (const run of runs) if (!this.models.has(run)) this.models.set(run, new RunModel(run));
    if (runs.length === 0) return;
    const address = `/v1/events?${runs.map(run => `run=${encodeURIComponent(run)}`).join('&')}`;
    this.stream = new EventStream(() => address, {
      event: (type, data) => this.take(type, data),
      link: link => this.link(link),
      idTaken: id => this.remember(id),
    }, this.lastId(runs));
  }

  take(type, event) {
    const model = event && this.models.get(event.run);
    if (!model) return;
    const data = type === 'gone' || type === 'away' ? event : type === 'round' ? { summary: event.data.summary } : event.data;
    model.take(type, data);
    this.tell(event.run, { type: 'event', run: event.run, event: type, data });
  }

  tell(run, message) {
    for (const [port, shown] of this.ports) if (shown.has(run)) port.postMessage(message);
  }

  link(link) {
    const shown = [...this.models.values()];
    if (shown.length > 0 && shown.every(model => model.gone)) link = { state: 'gone', since: link.since };
    if (link.state === this.linkNow.state && link.since - this.linkNow.since < 1_000) return;
    this.linkNow = link;
    for (const port of this.ports.keys()) port.postMessage({ type: 'link', ...link });
  }

  // Ids are RUN=ID;RUN=ID: a run that another tab shows too goes on where it was.
  remember(id) {
    for (const part of id.split(';')) {
      const at = part.indexOf('=');
      if (at > 0) this.lastIds.set(part.slice(0, at), part.slice(at + 1));
    }
  }

  lastId(runs) {
    const known = runs.filter(run => this.lastIds.has(run) && this.models.get(run)?.isKnown);
    return known.length === 0 ? null : known.map(run => `${run}=${this.lastIds.get(run)}`).join(';');
  }
}
