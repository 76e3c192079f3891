// A tab's end of the stream of events that all tabs share.

const QUIET_MS = 45_000; // the worker says something at each ping, every 15 s; a worker that was killed says nothing

/**
 * Follows runs.
 * @param {string[]} runs their names
 * @param {{event: Function, restore: Function, link: Function}} listener
 */
export class Stream {
  constructor(runs, listener) {
    [this.runs, this.listener, this.heard] = [runs, listener, Date.now()];
    this.lock = `fedrlora-tab-${crypto.randomUUID()}`;
    held(this.lock).then(() => {
      this.open();
      addEventListener('pagehide', () => this.port.postMessage({ type: 'bye' }));
      addEventListener('pageshow', event => event.persisted && this.follow(this.runs));
      setInterval(() => this.check(), 5_000);
    });
  }

  /** Follows others instead. */
  follow(runs) {
    this.runs = runs;
    this.port?.postMessage({ type: 'follow', runs, lock: this.lock });
  }

  /** Tries at once. */
  again() {
    this.port.postMessage({ type: 'again' });
  }

  open() {
    this.port = typeof SharedWorker === 'undefined' ? ownPort() : sharedPort();
    this.port.onmessage = ({ data }) => this.take(data);
    this.port.start();
    this.follow(this.runs);
  }

  take(message) {
    this.heard = Date.now();
    if (message.type === 'link') this.link(message);
    else this.listener[message.type](message);
  }

  link(link) {
    this.isEnded = link.state === 'signedOut';
    this.listener.link(link);
  }

  // While a tab is frozen its clock stands still too: the first check afterwards may be early, and opening again costs nothing.
  check() {
    if (this.isEnded || Date.now() - this.heard < QUIET_MS) return;
    this.listener.link({ state: 'cut', since: this.heard, error: 'the browser ended the worker that listens' });
    this.heard = Date.now();
    this.open();
  }
}

// A lock that is held until the tab is gone, however it goes.
const held = name => new Promise(isHeld => navigator.locks
  ? navigator.locks.request(name, () => {
    isHeld();
    return new Promise(() => {});
  })
  : isHeld());

const sharedPort = () =>
  new SharedWorker(new URL('./streamworker.js', import.meta.url), { type: 'module', name: 'fedrlora-events' }).port;

// Some browsers, most of them on phones, have no shared workers: there each tab has a stream of its own.
function ownPort() {
  const { port1, port2 } = new MessageChannel();
  import('./hub.js').then(({ Hub }) => new Hub().attach(port2));
  return port1;
}
