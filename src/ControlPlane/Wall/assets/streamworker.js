// A SharedWorker: however many tabs a browser has, the control plane serves it one stream.

import { Hub } from './hub.js';

const hub = new Hub();

self.onconnect = event => hub.attach(event.ports[0]);
