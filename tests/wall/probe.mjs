// Runs in the page before its own scripts: when things were drawn. A time is taken after the frame that shows what it is of.
export function probe() {
  const drawn = globalThis.drawn = { curves: null, cells: null, updates: [] };
  const afterFrame = call => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => call(performance.now());
    port2.postMessage(null);
  });

  globalThis.SharedWorker = class extends SharedWorker {
    constructor(...given) {
      super(...given);
      this.port.addEventListener('message', ({ data }) => {
        if (data.type !== 'event' || data.event !== 'round') return;
        const update = { round: data.data.summary.round, at: performance.now(), frame: null, cells: null };
        drawn.updates.push(update);
        afterFrame(now => { update.frame = now - update.at; });
      });
    }
  };

  // The heatmap puts each column down at once.
  const put = CanvasRenderingContext2D.prototype.putImageData;
  let isWaiting = false;
  CanvasRenderingContext2D.prototype.putImageData = function (...given) {
    put.apply(this, given);
    if (isWaiting || !this.canvas.closest('#heatmap')) return;
    isWaiting = true;
    const open = drawn.updates.filter(update => update.cells === null);
    afterFrame(now => {
      isWaiting = false;
      drawn.cells ??= now;
      for (const update of open) update.cells = now - update.at;
    });
  };

  new MutationObserver((_, observer) => {
    if (!/^Round/.test(document.querySelector('#timeline p.note')?.textContent) || !document.querySelector('#curves canvas')) return;
    observer.disconnect();
    afterFrame(now => { drawn.curves = now; });
  }).observe(document, { childList: true, characterData: true, subtree: true });
}
