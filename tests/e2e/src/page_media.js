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

  if (navigator.mediaDevices && window.segueCast) {
    const { source, frequency } = window.segueCast;
    navigator.mediaDevices.getUserMedia = async ({ video, audio }) =>
      new MediaStream([...(video ? camera(source) : []), ...(audio ? microphone(frequency) : [])]);
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
      setInterval(draw, 500);
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
      const picture = look(tile.querySelector('video'));
      const tone = listen(tile.querySelector('audio'));
      const path = tile.querySelector('.path').textContent;
      const first = picture && picture.source === before.source ? before.first : (picture?.frame ?? before.first);
      seen[tile.dataset.participant] = { ...before, ...picture, first, tone: tone ?? before.tone, path };
    }
    return seen;
  }

  // Whether everybody of `expected` (participant id -> { source, tone, path }) has been seen moving and heard since `forget`.
  function perceives(expected) {
    const now = perceive();
    return Object.entries(expected).every(([id, { source, tone, path }]) => {
      const got = now[id];
      if (!got || got.source !== source || Math.abs(got.tone - tone) > NEAR_HZ) return false;
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
      const direct = leg && { state: leg.pc.connectionState, signalling: leg.pc.signalingState, received: await flows(leg.pc, 'inbound-rtp'), sent: await flows(leg.pc, 'outbound-rtp') };
      edges.push({ id, tracks: [...other.tracks.keys()], direct, incoming: incoming.path, outgoing: outgoing.path });
    }
    const { publisher, subscriber, topology, target } = room;
    return JSON.stringify({
      seen: perceive(), topology, target, tracks: [...room.tracks.keys()], edges,
      publisher: { state: publisher.pc.connectionState, ice: await pairs(publisher.pc), sent: await flows(publisher.pc, 'outbound-rtp') },
      subscriber: { state: subscriber.pc.connectionState, received: await flows(subscriber.pc, 'inbound-rtp') },
    });
  }

  const forget = () => ((seen = {}), true);
  window.segueTest = { join, say, heard, perceives, describe, forget };
})();
