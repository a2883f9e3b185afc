// What each edge costs and loses: sampled from getStats once a second, kept for the plots.

import { Path } from './wire.js';

const SAMPLES = 60;

export class Stats {
  // participant id -> { rate: [kbit/s], loss: [%], rtt: [ms] }
  edges = new Map();
  #before = new Map();

  async sample(room) {
    for (const other of room.participants.values()) {
      const path = other.incoming.path ?? Path.RELAYED;
      const pc = path === Path.DIRECT ? other.leg?.pc : room.subscriber?.pc;
      if (!pc) continue;
      const series = this.edges.get(other.id) ?? { rate: [], loss: [], rtt: [] };
      this.edges.set(other.id, series);
      const now = await this.#totals(room, other, path);
      const before = this.#before.get(other.id);
      this.#before.set(other.id, now);
      if (!before || before.path !== path) continue;
      const seconds = Math.max((now.at - before.at) / 1000, 0.001);
      const received = Math.max(now.packets - before.packets, 0);
      const lost = Math.max(now.lost - before.lost, 0);
      push(series.rate, (Math.max(now.bytes - before.bytes, 0) * 8) / 1000 / seconds);
      push(series.loss, received + lost ? (100 * lost) / (received + lost) : 0);
      push(series.rtt, await roundTrip(pc));
    }
    for (const id of this.edges.keys()) if (!room.participants.has(id)) this.edges.delete(id);
  }

  async #totals(room, other, path) {
    const totals = { at: performance.now(), path, bytes: 0, packets: 0, lost: 0 };
    for (const track of other.tracks.keys()) {
      const receiver = room.receiverOn(other.id, track, path);
      if (!receiver) continue;
      for (const entry of (await receiver.getStats()).values()) {
        if (entry.type !== 'inbound-rtp') continue;
        totals.bytes += entry.bytesReceived ?? 0;
        totals.packets += entry.packetsReceived ?? 0;
        totals.lost += Math.max(entry.packetsLost ?? 0, 0);
      }
    }
    return totals;
  }
}

async function roundTrip(pc) {
  for (const entry of (await pc.getStats()).values()) {
    if (entry.type === 'candidate-pair' && entry.nominated && entry.currentRoundTripTime !== undefined) return entry.currentRoundTripTime * 1000;
  }
  return 0;
}

function push(series, value) {
  series.push(value);
  if (series.length > SAMPLES) series.shift();
}

const PLOTS = [
  ['rate', 'kbit/s', 'var(--relayed)'],
  ['loss', '% lost', 'var(--danger)'],
  ['rtt', 'ms round trip', 'var(--warn)'],
];

export function drawStats(root, room, stats) {
  const parts = [];
  for (const other of room.participants.values()) {
    const series = stats.edges.get(other.id);
    const path = other.incoming.path === Path.DIRECT ? 'direct' : 'relayed';
    const edge = document.createElement('section');
    edge.className = 'edge';
    const title = document.createElement('h3');
    title.textContent = other.name || other.identity;
    const badge = document.createElement('span');
    badge.className = `badge ${path}`;
    badge.textContent = path;
    title.append(badge);
    edge.append(title);
    for (const [name, unit, colour] of PLOTS) edge.append(plot(series?.[name] ?? [], unit, colour));
    parts.push(edge);
  }
  root.replaceChildren(...parts);
}

function plot(values, unit, colour) {
  const figure = document.createElement('figure');
  const last = values.at(-1) ?? 0;
  const most = Math.max(...values, 0);
  const points = values.map((value, index) => `${(index / (SAMPLES - 1)) * 300},${32 - (value / Math.max(most, 1)) * 30}`).join(' ');
  figure.innerHTML = `<svg viewBox="0 0 300 34" preserveAspectRatio="none" aria-hidden="true"><polyline points="${points}" fill="none" stroke="${colour}" stroke-width="1.5"/></svg>` +
    `<figcaption><span>${last.toFixed(last < 10 ? 1 : 0)} ${unit}</span><span>max ${most.toFixed(most < 10 ? 1 : 0)}</span></figcaption>`;
  return figure;
}
