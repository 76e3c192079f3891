// Server-sent events over fetch: EventSource tells neither why a stream ended (401 is not an outage), nor that nothing comes any more.

const SILENT_MS = 20_000; // the server says something every 15 s
const WAITS_MS = [500, 1_000, 2_000, 4_000, 8_000];

/**
 * Follows an address until it is closed, and comes back by itself.
 * @param {() => string} addressOf the address, asked for at each try
 * @param {{event: Function, link: Function, idTaken: Function}} listener hears events, how the connection is, and the last id
 */
export class EventStream {
  constructor(addressOf, listener, lastId = null) {
    [this.addressOf, this.listener, this.lastId] = [addressOf, listener, lastId];
    this.closing = new AbortController();
    this.heard = Date.now();
    this.run();
  }

  close() {
    this.isClosed = true;
    this.closing.abort();
  }

  async run() {
    for (let tries = 0; !this.isClosed; tries++) {
      const before = this.heard;
      const end = await this.once();
      if (this.isClosed) return;
      if (this.heard !== before) tries = 0;
      this.listener.link({ state: end.state, since: this.heard, error: end.error });
      if (end.state === 'signedOut') return;
      await new Promise(over => setTimeout(over, WAITS_MS[Math.min(tries, WAITS_MS.length - 1)]));
    }
  }

  async once() {
    const trying = new AbortController();
    const stop = () => trying.abort();
    this.closing.signal.addEventListener('abort', stop);
    let silence = setTimeout(stop, SILENT_MS);
    try {
      const headers = { Accept: 'text/event-stream', ...(this.lastId ? { 'Last-Event-ID': this.lastId } : {}) };
      const answer = await fetch(this.addressOf(), { headers, signal: trying.signal, cache: 'no-store' });
      if (answer.status === 401 || answer.status === 403) return { state: 'signedOut', error: 'the session has ended' };
      if (!answer.ok) return { state: 'cut', error: (await answer.json().catch(() => null))?.error ?? `answer ${answer.status}` };
      const parser = new Parser(event => this.take(event));
      for await (const piece of pieces(answer.body)) {
        clearTimeout(silence);
        silence = setTimeout(stop, SILENT_MS);
        this.heard = Date.now();
        this.listener.link({ state: 'open', since: this.heard });
        parser.push(piece);
      }
      return { state: 'cut', error: 'the control plane ended the stream' };
    } catch (error) {
      if (trying.signal.aborted) return { state: 'cut', error: 'nothing was heard for 20 s' };
      return { state: 'cut', error: error.name === 'TypeError' ? 'the control plane cannot be reached' : error.message };
    } finally {
      clearTimeout(silence);
      this.closing.signal.removeEventListener('abort', stop);
      trying.abort();
    }
  }

  take(event) {
    if (event.id !== null) this.listener.idTaken(this.lastId = event.id);
    this.listener.event(event.type, event.data === '' ? null : JSON.parse(event.data));
  }
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) yield piece.value;
}

/** Cuts a text into events, in whatever pieces it comes. */
export class Parser {
  constructor(take) {
    [this.take, this.rest, this.event] = [take, '', fresh()];
  }

  push(piece) {
    if (!piece.includes('\n')) {
      this.rest += piece; // a snapshot is one long line
      return;
    }
    const lines = (this.rest + piece).split('\n');
    this.rest = lines.pop();
    for (const line of lines) this.line(line.replace(/\r$/, ''));
  }

  line(line) {
    if (line === '') {
      if (this.event.type !== null || this.event.data !== '') this.take({ ...this.event, type: this.event.type ?? 'message' });
      this.event = fresh();
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.event.type = value;
    else if (field === 'data') this.event.data += (this.event.data === '' ? '' : '\n') + value;
    else if (field === 'id') this.event.id = value;
  }
}

const fresh = () => ({ type: null, data: '', id: null });
