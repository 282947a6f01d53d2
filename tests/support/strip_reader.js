// Reads the test card off the video elements of a page (the layout is that of tallylight.demo.testcard).
// Installed before the page's own scripts; leaves `window.tallySeen`, a list of what each presented picture showed.
(() => {
  const COLUMNS = 24;
  const ROWS = 2;
  const BITS = 40;
  const STRIP_SHARE = 18;
  // Full range, as a canvas gives it; the same certainty as the Python reader asks for.
  const SURE_BLACK = 92;
  const SURE_WHITE = 168;
  const even = (value) => Math.trunc(value / 2) * 2;

  const canvas = new OffscreenCanvas(2, 2);
  const context = canvas.getContext("2d", { willReadFrequently: true });

  function checksum(counter) {
    let crc = 0xff;
    for (let index = BITS / 8 - 1; index >= 0; index -= 1) {
      crc ^= Math.floor(counter / 256 ** index) & 0xff;
      for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
    }
    return crc;
  }

  // Mean luma of the inner half of a rectangle of the frame.
  function level(pixels, stride, top, left, height, width) {
    let sum = 0;
    let count = 0;
    for (let y = Math.round(top + height / 4); y < top + (height * 3) / 4; y += 1) {
      for (let x = Math.round(left + width / 4); x < left + (width * 3) / 4; x += 1) {
        const at = (y * stride + x) * 4;
        sum += 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
        count += 1;
      }
    }
    return sum / count;
  }

  function readCounter(video, width, height) {
    const strip = even((height * ROWS) / STRIP_SHARE);
    canvas.width = width;
    canvas.height = strip;
    context.drawImage(video, 0, height - strip, width, strip, 0, 0, width, strip);
    const pixels = context.getImageData(0, 0, width, strip).data;
    let counter = 0;
    let check = 0;
    for (let index = 0; index < ROWS * COLUMNS; index += 1) {
      const top = (Math.floor(index / COLUMNS) * strip) / ROWS;
      const left = ((index % COLUMNS) * width) / COLUMNS;
      const value = level(pixels, width, top, left, strip / ROWS, width / COLUMNS);
      if (value > SURE_BLACK && value < SURE_WHITE) return null;
      const bit = value >= SURE_WHITE ? 1 : 0;
      if (index < BITS) counter = counter * 2 + bit;
      else check = check * 2 + bit;
    }
    return check === checksum(counter) ? counter : null;
  }

  window.tallySeen = [];
  const watched = new WeakSet();

  function watch(video) {
    watched.add(video);
    const look = (_now, metadata) => {
      const width = video.videoWidth;
      const height = video.videoHeight;
      // Chromium shows a 2 x 2 picture for a video that was refused.
      if (width > 2) {
        window.tallySeen.push({
          counter: readCounter(video, width, height),
          media_s: metadata.mediaTime,
          at_s: (performance.timeOrigin + performance.now()) / 1000,
          width,
          height,
        });
      }
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  }

  function* videos(root) {
    for (const element of root.querySelectorAll("*")) {
      if (element instanceof HTMLVideoElement) yield element;
      if (element.shadowRoot) yield* videos(element.shadowRoot);
    }
  }

  // Players make their elements when they need them.
  setInterval(() => {
    for (const video of videos(document)) if (!watched.has(video)) watch(video);
  }, 50);

  // Connections the page makes, so that a test can read their statistics.
  window.tallyPeers = [];
  const Original = window.RTCPeerConnection;
  if (Original) {
    window.RTCPeerConnection = class extends Original {
      constructor(...args) {
        super(...args);
        window.tallyPeers.push(this);
      }
    };
  }
})();
