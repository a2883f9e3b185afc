// Runs in a page under test, before the page's own scripts: a camera whose pictures carry the counter of `segue_codec::counter` and a
// microphone that hums one tone stand in for the devices; eyes and ears read both back from the page's own tiles. Who is played stands
// in `window.segueCast` ({ source, frequency }).
(() => {
  const COLUMNS = 32;
  const ROWS = 2;
  const [BLACK, WHITE] = [24, 226];
  const [WIDTH, HEIGHT] = [640, 360];
  // A picture must go on this long before it counts as seen.
  const FRAMES = 25;
  // Bins of the ears are 6 Hz wide, tones 50 Hz apart.
  const NEAR_HZ = 15;

  function checksum(content) {
    let crc = 0xffff;
    for (let byte = 0n; byte < 6n; byte += 1n) {
      crc ^= Number((content >> (8n * byte)) & 0xffn) << 8;
      for (let bit = 0; bit < 8; bit += 1) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    return BigInt(crc);
  }

  function encode(source, frame) {
    const content = BigInt((frame ^ (frame >>> 1)) >>> 0) | (BigInt(source) << 32n);
    return content | (checksum(content) << 48n);
  }

  function decode(cells) {
    const content = cells & ((1n << 48n) - 1n);
    if (checksum(content) !== cells >> 48n) return null;
    let frame = Number(content & 0xffffffffn);
    for (const shift of [16, 8, 4, 2, 1]) frame = (frame ^ (frame >>> shift)) >>> 0;
    return { source: Number(content >> 32n), frame };
  }

  function paint(context, source, frame) {
    const hue = (source * 67) % 360;
    const sky = context.createLinearGradient(0, 0, WIDTH, HEIGHT);
    sky.addColorStop(0, `hsl(${hue} 45% 42%)`);
    sky.addColorStop(1, `hsl(${(hue + 60) % 360} 45% 22%)`);
    context.fillStyle = sky;
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.fillStyle = `hsl(${hue} 30% 78%)`;
    context.beginPath();
    context.arc(320 + 14 * Math.sin(frame / 20), 190 + 6 * Math.cos(frame / 15), 62, 0, 7);
    context.ellipse(320 + 8 * Math.sin(frame / 20), 372, 140, 110, 0, 0, 7);
    context.fill();
    const cells = encode(source, frame);
    for (let cell = 0; cell < COLUMNS * ROWS; cell += 1) {
      const value = (cells >> BigInt(cell)) & 1n ? WHITE : BLACK;
      context.fillStyle = `rgb(${value} ${value} ${value})`;
      context.fillRect((cell % COLUMNS) * 20, Math.floor(cell / COLUMNS) * 20, 20, 20);
    }
  }

  function camera(source) {
    const canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT });
    const context = canvas.getContext('2d');
    let frame = 0;
    const draw = () => paint(context, source, (frame += 1));
    draw();
    setInterval(draw, 40);
    return canvas.captureStream(25).getVideoTracks();
  }

  function microphone(frequency) {
    const sound = new AudioContext();
    const tone = new OscillatorNode(sound, { frequency });
    const out = sound.createMediaStreamDestination();
    tone.connect(new GainNode(sound, { gain: 0.3 })).connect(out);
    tone.start();
    return out.stream.getAudioTracks();
  }

  // All that devices ever gave to the page.
  const captured = [];

  if (navigator.mediaDevices && window.segueCast) {
    const { source, frequency } = window.segueCast;
    navigator.mediaDevices.getUserMedia = async ({ video, audio }) => {
      const tracks = [...(video ? camera(source) : []), ...(audio ? microphone(frequency) : [])];
      captured.push(...tracks);
      return new MediaStream(tracks);
    };
  }

  // A screen to share: the page may change its mind about it like about a real one.
  if (navigator.mediaDevices) {
    navigator.mediaDevices.getDisplayMedia = async () => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
      const context = canvas.getContext('2d');
      let line = 0;
      const draw = () => {
        context.fillStyle = '#f4f1ea';
        context.fillRect(0, 0, 1280, 720);
        context.fillStyle = '#27313d';
        context.font = '40px serif';
        for (let row = 0; row < 12; row += 1) context.fillText(`${line + row}  what one reads over somebody's shoulder`, 60, 80 + row * 54);
        line += 1;
      };
      draw();
      setInterval(draw, window.segueCast?.screenMs ?? 100);
      return canvas.captureStream(10);
    };
  }

  function join(name) {
    document.getElementById('name').value = name;
    document.getElementById('join').requestSubmit();
  }

  function say(text) {
    document.getElementById('text').value = text;
    document.getElementById('say').requestSubmit();
  }

  // What others said that begins so.
  function heard(beginning) {
    const all = [...document.querySelectorAll('#messages li')].filter((item) => item.firstChild.textContent !== 'you');
    return all.map((item) => item.lastChild.textContent).filter((text) => text.startsWith(beginning));
  }

  function look(video) {
    const { videoWidth: width, videoHeight: height } = video;
    if (!width || video.hidden) return null;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0);
    const side = width / COLUMNS;
    const { data } = context.getImageData(0, 0, width, Math.min(height, Math.ceil(ROWS * side)));
    let cells = 0n;
    for (let cell = 0; cell < COLUMNS * ROWS; cell += 1) {
      const x = Math.floor(((cell % COLUMNS) + 0.5) * side);
      const y = Math.floor((Math.floor(cell / COLUMNS) + 0.5) * side);
      const at = 4 * (y * width + x);
      if (data[at] + data[at + 1] + data[at + 2] > 3 * 125) cells |= 1n << BigInt(cell);
    }
    return decode(cells);
  }

  const ears = new Map();
  function listen(audio) {
    const track = audio.srcObject?.getAudioTracks()[0];
    if (!track || audio.paused) return null;
    let ear = ears.get(track.id);
    if (!ear) {
      const sound = new AudioContext();
      const analyser = new AnalyserNode(sound, { fftSize: 8192, smoothingTimeConstant: 0 });
      sound.createMediaStreamSource(new MediaStream([track])).connect(analyser);
      ear = { sound, analyser, bins: new Float32Array(analyser.frequencyBinCount) };
      ears.set(track.id, ear);
    }
    ear.analyser.getFloatFrequencyData(ear.bins);
    let best = 0;
    for (let bin = 1; bin < ear.bins.length; bin += 1) if (ear.bins[bin] > ear.bins[best]) best = bin;
    return ear.bins[best] > -60 ? (best * ear.sound.sampleRate) / ear.analyser.fftSize : null;
  }

  // Participant id -> { source, first, frame, tone, path }: what was perceived since `forget`.
  let seen = {};

  function perceive() {
    for (const tile of document.querySelectorAll('.tile[data-participant]:not(.screen)')) {
      const before = seen[tile.dataset.participant] ?? { source: null, first: null, frame: null, tone: null };
      const picture = look(tile.querySelector('video:not([data-next])'));
      const tone = listen(tile.querySelector('audio:not([data-next])'));
      const path = tile.querySelector('.path').textContent;
      const first = picture && picture.source === before.source ? before.first : (picture?.frame ?? before.first);
      seen[tile.dataset.participant] = { ...before, ...picture, first, tone: tone ?? before.tone, path };
    }
    return seen;
  }

  // Whether everybody of `expected` (participant id -> { source, tone, path }) has been seen moving and heard since `forget`; without
  // `tone`: seen only.
  function perceives(expected) {
    const now = perceive();
    return Object.entries(expected).every(([id, { source, tone, path }]) => {
      const got = now[id];
      if (!got || got.source !== source || (tone && Math.abs(got.tone - tone) > NEAR_HZ)) return false;
      return got.frame - got.first >= FRAMES && (!path || got.path === path);
    });
  }

  async function flows(pc, type) {
    const flowing = [];
    for (const entry of (await pc.getStats()).values()) {
      if (entry.type !== type) continue;
      const { mid, rid, kind, ssrc, packetsReceived, packetsSent, framesDecoded, framesReceived, keyFramesDecoded, framesEncoded, frameWidth, pliCount, active } = entry;
      const bytes = entry.bytesReceived ?? entry.bytesSent;
      flowing.push({ mid, rid, kind, ssrc, packetsReceived, packetsSent, bytes, framesReceived, framesDecoded, keyFramesDecoded, framesEncoded, frameWidth, pliCount, active });
    }
    return flowing;
  }

  async function pairs(pc) {
    const report = await pc.getStats();
    const told = (id) => { const { address, port, protocol, candidateType } = report.get(id) ?? {}; return `${candidateType} ${protocol} ${address}:${port}`; };
    const all = [...report.values()];
    return { local: all.filter((e) => e.type === 'local-candidate').map((e) => told(e.id)), remote: all.filter((e) => e.type === 'remote-candidate').map((e) => told(e.id)),
      pairs: all.filter(({ type }) => type === 'candidate-pair').map((pair) => `${told(pair.localCandidateId)} -> ${told(pair.remoteCandidateId)} ${pair.state} ${pair.requestsSent} ${pair.responsesReceived}`) };
  }

  // What a failing test wants to know of a page.
  async function describe() {
    const room = window.segue;
    const edges = [];
    for (const other of room.participants.values()) {
      const { id, leg, incoming, outgoing } = other;
      const direct = leg && { ice: await pairs(leg.pc), state: leg.pc.connectionState, signalling: leg.pc.signalingState, received: await flows(leg.pc, 'inbound-rtp'), sent: await flows(leg.pc, 'outbound-rtp') };
      edges.push({ id, tracks: [...other.tracks.keys()], direct, incoming: incoming.path, outgoing: outgoing.path });
    }
    const { publisher, subscriber, topology, target } = room;
    return JSON.stringify({
      seen: perceive(), topology, target, tracks: [...room.tracks.keys()], edges,
      publisher: { state: publisher.pc.connectionState, ice: await pairs(publisher.pc), sent: await flows(publisher.pc, 'outbound-rtp') },
      subscriber: { state: subscriber.pc.connectionState, received: await flows(subscriber.pc, 'inbound-rtp') },
    });
  }

  // ---------------------------------------------------------------------------------------------------------------- gaps

  // Runs where the sound is made: the longest silence since it was last asked.
  const METER = `registerProcessor('meter', class extends AudioWorkletProcessor {
    silent = 0; worst = 0; heard = false;
    constructor() {
      super();
      this.port.onmessage = () => {
        this.port.postMessage(1000 * Math.max(this.worst, this.heard ? this.silent : Infinity));
        this.worst = 0;
      };
    }
    process([[samples]]) {
      if (samples?.some((sample) => Math.abs(sample) > 0.005)) {
        this.heard = true;
        this.silent = 0;
      } else {
        this.silent += 128 / sampleRate;
        if (this.heard) this.worst = Math.max(this.worst, this.silent);
      }
      return true;
    }
  });`;
  // How often it is looked at what each tile plays.
  const LOOK_MS = 4;

  let watching = null;

  // Begins to measure what a person in front of this page sees and hears of everybody else.
  async function watch() {
    const sound = new AudioContext();
    await sound.audioWorklet.addModule(URL.createObjectURL(new Blob([METER], { type: 'text/javascript' })));
    watching = { sound, taps: new Map(), meters: new Map(), pictures: new Map(), eyes: new WeakSet() };
    setInterval(tap, LOOK_MS);
  }

  // Every track that could be heard is tapped before it is, and goes to its participant's meter while an element plays it.
  function tap() {
    const { sound, taps, meters } = watching;
    const audible = new Set();
    for (const tile of document.querySelectorAll('.tile[data-participant]')) {
      for (const video of tile.querySelectorAll('video')) see(video, tile);
      for (const audio of tile.querySelectorAll('audio')) {
        if (!audio.paused && !audio.muted && audio.readyState > 2) audio.srcObject?.getAudioTracks().forEach(({ id }) => audible.add(id));
      }
    }
    for (const other of window.segue.participants.values()) {
      for (const { id, kind } of other.tracks.values()) {
        if (kind !== 'AUDIO') continue;
        for (const path of ['DIRECT', 'RELAYED']) {
          const track = window.segue.receiverOn(other.id, id, path)?.track;
          if (!track || taps.has(track.id)) continue;
          if (!meters.has(other.id)) meters.set(other.id, new AudioWorkletNode(sound, 'meter', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' }));
          const stream = new MediaStream([track]);
          const gain = new GainNode(sound, { gain: 0 });
          sound.createMediaStreamSource(stream).connect(gain).connect(meters.get(other.id));
          // Chromium decodes what comes from afar only where an element plays it.
          const element = Object.assign(new Audio(), { srcObject: stream, muted: true });
          element.play().catch(() => {});
          taps.set(track.id, { gain, element });
        }
      }
    }
    for (const [id, { gain }] of taps) gain.gain.value = audible.has(id) ? 1 : 0;
  }

  // Notes when each picture of a tile came to be seen.
  function see(video, tile) {
    const { eyes, pictures } = watching;
    if (eyes.has(video)) return;
    eyes.add(video);
    const note = (now) => {
      if (!video.isConnected) return;
      video.requestVideoFrameCallback(note);
      if (video.hidden || 'next' in video.dataset) return;
      const key = `${tile.dataset.participant}${tile.matches('.screen') ? '/screen' : ''}`;
      const before = pictures.get(key) ?? { last: now, intervals: [], changes: [], video };
      (before.video === video ? before.intervals : before.changes).push(now - before.last);
      pictures.set(key, { ...before, last: now, video });
    };
    video.requestVideoFrameCallback(note);
  }

  // The longest gaps since the last time, in milliseconds: { audio: { id: gap }, video: { id: gap, 'id/screen': gap }, change: { .. } }. A gap of
  // pictures is what the longest interval has more than the usual one; `change` has those from the last picture of one path to the first of
  // the next.
  async function gaps() {
    const audio = {};
    for (const [id, { port }] of watching.meters) {
      if (!window.segue.participants.has(id)) continue;
      audio[id] = await new Promise((resolve) => {
        port.onmessage = ({ data }) => resolve(data);
        port.postMessage('');
      });
    }
    const [video, change] = [{}, {}];
    for (const [key, seen] of watching.pictures) {
      if (!window.segue.participants.has(Number.parseInt(key, 10))) continue;
      const all = [...seen.intervals, ...seen.changes, performance.now() - seen.last].sort((a, b) => a - b);
      const excess = (interval) => Math.max(interval - all[Math.floor(all.length / 2)], 0);
      video[key] = excess(all.at(-1));
      if (seen.changes.length) change[key] = excess(Math.max(...seen.changes));
      Object.assign(seen, { intervals: [], changes: [] });
    }
    return { audio, video, change };
  }

  const forget = () => ((seen = {}), true);
  window.segueTest = { captured, join, say, heard, perceives, describe, forget, watch, gaps };
})();
