// Notices the death of a relay seconds before Chromium does, which leaves `connected` only after five: its WebSocket is gone, and nothing
// has come from it for three of its heartbeats.

const SILENT_MS = 600;
const LOOK_MS = 150;

export class RelayWatch {
  // Nothing is heard of the relay. Ends with a new or resumed connection only: of a path it cannot be told of, none is one.
  silent = false;
  #fell;
  #timer = null;

  // `fell`: called when the relay falls silent.
  constructor(fell) {
    this.#fell = fell;
  }

  // The connection to the relay was lost. `pc`: where its media comes.
  start(pc) {
    if (this.#timer || this.silent) return;
    let [bytes, since] = [null, performance.now()];
    this.#timer = setInterval(async () => {
      const timer = this.#timer;
      const now = await received(pc);
      if (timer !== this.#timer || timer === null) return;
      if (now !== bytes) [bytes, since] = [now, performance.now()];
      else if (performance.now() - since >= SILENT_MS) this.fall();
    }, LOOK_MS);
  }

  // It said so itself, or was found out.
  fall() {
    this.#rest();
    if (this.silent) return;
    this.silent = true;
    this.#fell();
  }

  // It is there again.
  stop() {
    this.#rest();
    this.silent = false;
  }

  #rest() {
    clearInterval(this.#timer);
    this.#timer = null;
  }
}

async function received(pc) {
  let bytes = 0;
  for (const entry of (await pc.getStats()).values()) if (entry.type === 'transport') bytes += entry.bytesReceived ?? 0;
  return bytes;
}
