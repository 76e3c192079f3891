// Questions to the control plane. A refusal is an error with the server's own line.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const listeners = new Set();

/** Calls when the server says that nobody is signed in. */
export function onSignedOut(call) {
  listeners.add(call);
}

export const path = run => `/v1/runs/${encodeURIComponent(run)}`;

/** What a route answers, as JSON. */
export const get = async (address, signal) => (await ask(address, { signal })).json();

/** A text. */
export const getText = async (address, signal) => (await ask(address, { signal })).text();

/** Has a run do something; the token is asked for where the control plane was told to. */
export async function post(address, body, token) {
  const headers = { 'Content-Type': 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  return (await ask(address, { method: 'POST', headers, body: JSON.stringify(body) })).json();
}

async function ask(address, request) {
  const answer = await fetch(address, request).catch(error => {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(0, 'the control plane cannot be reached');
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => null);
  if (answer.status === 401 && !request.headers?.Authorization) for (const call of listeners) call();
  throw new Refusal(answer.status, problem?.error ?? `the control plane answered ${answer.status}`);
}
