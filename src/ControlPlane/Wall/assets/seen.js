// Panels further down ask for what they show only while they are seen.

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
