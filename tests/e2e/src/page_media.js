// Runs in a page under test: a camera whose pictures carry the counter of `segue_codec::counter`, a microphone that hums one tone, and
// the eyes and ears that read both back from the page's own tiles.
(() => {
  const COLUMNS = 32;
  const ROWS = 2;
  const [BLACK, WHITE] = [24, 226];

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

  // Publishes a camera and a microphone: pictures of `source`, a tone of `frequency` Hz.
  async function publish(source, frequency) {
    const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 360 });
    const context = canvas.getContext('2d');
    let frame = 0;
    const draw = () => {
      context.fillStyle = `hsl(${(source * 67) % 360} 50% 35%)`;
      context.fillRect(0, 0, 640, 360);
      context.fillStyle = '#fff8';
      context.beginPath();
      context.arc(320 + 200 * Math.sin(frame / 20), 220 + 60 * Math.cos(frame / 15), 40, 0, 7);
      context.fill();
      const cells = encode(source, frame);
      for (let cell = 0; cell < COLUMNS * ROWS; cell += 1) {
        const value = (cells >> BigInt(cell)) & 1n ? WHITE : BLACK;
        context.fillStyle = `rgb(${value} ${value} ${value})`;
        context.fillRect((cell % COLUMNS) * 20, Math.floor(cell / COLUMNS) * 20, 20, 20);
      }
      frame += 1;
    };
    draw();
    setInterval(draw, 40);
    const [video] = canvas.captureStream(25).getVideoTracks();
    const sound = new AudioContext();
    const tone = new OscillatorNode(sound, { frequency });
    const volume = new GainNode(sound, { gain: 0.3 });
    const out = sound.createMediaStreamDestination();
    tone.connect(volume).connect(out);
    tone.start();
    const encodings = [['f', 1, 1200], ['h', 2, 400], ['q', 4, 120]].map(([rid, by, kbps]) => ({ rid, width: 640 / by, height: 360 / by, max_kbps: kbps }));
    await window.segue.publish(video, { kind: 'VIDEO', source: 'CAMERA', encodings });
    await window.segue.publish(out.stream.getAudioTracks()[0], { kind: 'AUDIO', source: 'MICROPHONE' });
    return true;
  }

  function look(video) {
    const { videoWidth: width, videoHeight: height } = video;
    if (!width) return null;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0);
    const side = width / COLUMNS;
    let cells = 0n;
    for (let cell = 0; cell < COLUMNS * ROWS; cell += 1) {
      const x = Math.floor(((cell % COLUMNS) + 0.5) * side);
      const y = Math.floor((Math.floor(cell / COLUMNS) + 0.5) * side);
      const [red, green, blue] = context.getImageData(x, y, 1, 1).data;
      if (red + green + blue > 3 * 125) cells |= 1n << BigInt(cell);
    }
    return decode(cells);
  }

  const ears = new Map();
  function listen(audio) {
    const track = audio.srcObject?.getAudioTracks()[0];
    if (!track) return null;
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

  // What the tiles of the others show and play now: participant id -> { source, frame, tone }.
  function perceive() {
    const seen = {};
    for (const tile of document.querySelectorAll('.tile[data-participant]')) {
      const picture = look(tile.querySelector('video'));
      seen[tile.dataset.participant] = { ...picture, tone: listen(tile.querySelector('audio')) };
    }
    return seen;
  }

  window.segueTest = { publish, perceive };
  return true;
})();
