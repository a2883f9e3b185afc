// Plays one track after another without a gap: the next one plays beneath until it has something to show or to say.

// A picture that is not drawn, in a window nobody looks at, tells nothing: the change is made then all the same.
const PATIENCE_MS = 1_000;

export class Player {
  #tag;
  #current;
  #next = null;

  // `element` stays in its place in the tile, or its successors do.
  constructor(element) {
    this.#tag = element.tagName;
    this.#current = element;
  }

  // null: nothing.
  show(track) {
    const current = trackOf(this.#current);
    if (track === (this.#next ? trackOf(this.#next) : current)) return;
    this.#drop(this.#next);
    this.#next = null;
    this.#current.hidden = !track;
    if (track === current) return;
    if (track && current) this.#prepare(track);
    else attach(this.#current, track);
  }

  #prepare(track) {
    const next = this.#current.cloneNode();
    next.dataset.next = '';
    this.#next = next;
    this.#current.before(next);
    const ready = () => this.#next === next && this.#change();
    if (this.#tag === 'VIDEO') next.requestVideoFrameCallback(ready);
    else next.addEventListener('playing', ready, { once: true });
    setTimeout(ready, PATIENCE_MS);
    attach(next, track);
  }

  #change() {
    delete this.#next.dataset.next;
    this.#drop(this.#current);
    this.#current = this.#next;
    this.#next = null;
  }

  #drop(element) {
    element?.remove();
    if (element) element.srcObject = null;
  }
}

function trackOf({ srcObject }) {
  return srcObject?.getTracks()[0] ?? null;
}

function attach(element, track) {
  element.srcObject = track ? new MediaStream([track]) : null;
  if (track) element.play().catch(() => {});
}
