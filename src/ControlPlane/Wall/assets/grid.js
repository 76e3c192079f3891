// The answer of /grid: float32 numbers, round by round and client by client, as base64; NaN where there is none.

export function readGrid(answer) {
  const clients = answer.clients.length;
  const bytes = Uint8Array.from(atob(answer.values), letter => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = answer.rounds.map((_, round) =>
    Float32Array.from({ length: clients }, (_, client) => view.getFloat32(4 * (round * clients + client), true)));
  return { clients: answer.clients, rounds: answer.rounds, metric: answer.metric ?? null, values, outcomes: answer.outcomes };
}
