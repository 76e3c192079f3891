// The answer of /grid: float32 numbers, round by round and client by client, as base64; NaN where there is none.

export function readGrid(answer) {
  const clients = answer.clients.length;
  const text = atob(answer.values);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  const all = new Float32Array(bytes.buffer); // as processors of browsers have them
  const values = answer.rounds.map((_, round) => all.subarray(round * clients, (round + 1) * clients));
  return { clients: answer.clients, rounds: answer.rounds, metric: answer.metric ?? null, values, outcomes: answer.outcomes };
}
