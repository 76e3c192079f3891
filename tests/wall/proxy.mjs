// A server before the control plane that counts streams and can cut what is open.
import http from 'node:http';

export async function proxy(address) {
  const target = new URL(address);
  const [open, streams] = [new Set(), new Set()];
  let isAway = false;
  let most = 0;
  const server = http.createServer((asked, answer) => {
    if (isAway) return asked.socket.destroy();
    const isStream = /\/events\b/.test(asked.url);
    const there = http.request(
      { host: target.hostname, port: target.port, path: asked.url, method: asked.method, headers: asked.headers }, given => {
        answer.writeHead(given.statusCode, given.headers);
        answer.flushHeaders();
        given.pipe(answer);
        given.on('error', () => answer.destroy());
      });
    if (isStream) streams.add(asked);
    most = Math.max(most, streams.size);
    answer.on('close', () => { streams.delete(asked); there.destroy(); });
    there.on('error', () => answer.destroy());
    asked.pipe(there);
  });
  server.on('connection', socket => { open.add(socket); socket.on('close', () => open.delete(socket)); });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  return {
    /** The entrance through this server. */
    entrance: Object.assign(new URL(address), { port: server.address().port }).href,
    /** Streams that are open now, and the most that were at once. */
    streams: () => streams.size, most: () => most,
    /** Ends every connection, and takes none until it is `back`. */
    cut() { isAway = true; for (const socket of open) socket.destroy(); },
    back() { isAway = false; },
    close() { server.close(); for (const socket of open) socket.destroy(); },
  };
}
