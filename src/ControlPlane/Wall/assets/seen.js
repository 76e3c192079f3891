// Panels further down ask for what they show only while they are seen.

/** Shows changes of a panel at once where it is seen, else all of them when it is. */
export function whileSeen(element, update) {
  let [isSeen, missed] = [false, new Set()];

  function catchUp() {
    if (!isSeen || missed.size === 0) return;
    const changes = missed;
    missed = new Set();
    update(changes);
  }

  new IntersectionObserver(entries => {
    isSeen = entries.at(-1).isIntersecting;
    catchUp();
  }).observe(element);
  return changes => {
    for (const one of changes) missed.add(one);
    catchUp();
  };
}

/** A function that calls at once where the element is seen, else when it is; never twice at a time. */
export function whenSeen(element, call) {
  let [isSeen, isWanted, isBusy] = [false, false, false];

  async function go() {
    if (!isSeen || !isWanted || isBusy || document.hidden) return;
    [isBusy, isWanted] = [true, false];
    try {
      await call();
    } finally {
      isBusy = false;
    }
    go();
  }

  new IntersectionObserver(entries => {
    isSeen = entries.at(-1).isIntersecting;
    go();
  }).observe(element);
  document.addEventListener('visibilitychange', go);
  return () => {
    isWanted = true;
    go();
  };
}
