// What is known of a run: events put together, as RunProjection does on the server. Nothing is computed here that a reader could see.

export class RunModel {
  constructor(run) {
    this.run = run;
    this.isKnown = false;
    this.gone = this.away = null; // why there is no such run, or none that answers
    this.rounds = [];
    this.clients = new Map();
    this.sites = [];
  }

  /** Takes an event; says what of the model changed. */
  take(type, data, at = Date.now()) {
    switch (type) {
      case 'snapshot': return this.replace(data, at);
      case 'round': return this.addRound(data.summary ?? data, at);
      case 'state': return this.setState(data, at);
      case 'clients': return this.setClients(data.clients, at);
      case 'gone':
        this.gone = data.error;
        return ['gone'];
      case 'away': // it has said nothing as yet, and is asked again
        this.away = data.error;
        return ['away'];
      default: return [];
    }
  }

  /** All of it, for a tab that comes later. */
  snapshot() {
    const { run, isKnown, gone, away, rounds, sites, state, localOnlyRun, stateAt, reason, at } = this;
    return { run, isKnown, gone, away, rounds, sites, state, localOnlyRun, stateAt, reason, at, clients: [...this.clients.values()] };
  }

  /** Becomes what another model was. */
  restore(snapshot) {
    Object.assign(this, snapshot, { clients: byName(snapshot.clients) });
    return ['all'];
  }

  replace(view, at) {
    Object.assign(this, {
      isKnown: true, gone: null, away: null, reason: view.reason ?? null, at: view.at, state: view.state, stateAt: at, sites: view.sites,
      localOnlyRun: view.localOnlyRun ?? null, rounds: view.rounds, clients: byName(view.clients),
    });
    return ['all'];
  }

  // A round that is done again takes the place of what was there, and of what came after.
  addRound(summary) {
    const place = this.rounds.findIndex(round => round.round >= summary.round);
    if (place >= 0) this.rounds.length = place;
    if (this.rounds.length > 0) delete this.rounds.at(-1).tasks; // there may be as many as clients; the last round's are enough
    this.rounds.push(summary);
    return place >= 0 ? ['rounds', 'redone'] : ['rounds'];
  }

  setState(state, at) {
    const before = this.state;
    const isSame = before && before.round === state.round && before.attempt === state.attempt;
    if (!isSame) this.clients.clear();
    [this.state, this.stateAt] = [state, at];
    const absent = new Set(state.absentSites ?? []);
    for (const site of this.sites) site.absent = absent.has(site.site);
    return isSame ? ['state'] : ['state', 'clients'];
  }

  setClients(clients, at) {
    for (const client of clients) {
      this.clients.set(client.client, client);
      const site = this.sites.find(one => one.site === client.site);
      if (site && (client.stage === 'reported' || client.stage === 'failed')) site.lastHeard = new Date(at).toISOString();
    }
    return ['clients'];
  }
}

const byName = clients => new Map(clients.map(client => [client.client, client]));
