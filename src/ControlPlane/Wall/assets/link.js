// How the page is connected, in words: a page that is old says so.

import { show, text } from './dom.js';
import { clock } from './words.js';

const WORDS = { open: 'live', trying: 'connecting', cut: 'cut off', signedOut: 'signed out', stale: 'stale', gone: 'no such run' };

/** A function that takes how the connection is, and shows it. */
export function shown(badge, banner) {
  let cutSince = null;
  return link => {
    if (link.state === 'cut') cutSince ??= link.since;
    else if (link.state === 'open') cutSince = null;
    text(badge, WORDS[link.state]);
    badge.dataset.state = link.state;
    const line = lineOf(link, cutSince);
    show(banner, line !== null);
    if (line !== null) text(banner, line);
  };
}

function lineOf(link, cutSince) {
  switch (link.state) {
    case 'cut': return `Cut off since ${clock(cutSince)}: ${link.error}. This shows what was known then; trying again.`;
    case 'signedOut':
      return 'The session has ended: the program that let this browser in has stopped, or has started again. Open the address that it '
        + 'prints when it starts (simulate --dashboard), or that `fedrlora open` prints for silos. This shows what was known before.';
    case 'stale': return `Stale since ${clock(link.since)}: ${link.error} This shows what was known then.`;
    default: return null;
  }
}
