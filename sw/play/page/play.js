"use strict";
// The page of `sateen play`: sends what is drawn, and shows what the device made of it.

const byId = (name) => document.getElementById(name);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const BUSY = 1, WAITING = 2, STARVED = 4;
const CAUSES = { busy: "busy", weights: "waiting", accumulators: "starved", activations: "other", output: "other" };

let socket = null, hello = null, id = 0, recording = null, awaited = null;

// The connection.

const opened = (name) => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/${name}`);

function connect() {
  socket = opened("device");
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => (typeof event.data === "string" ? receive(JSON.parse(event.data)) : record(event.data));
  socket.onclose = () => {
    byId("device").textContent = "not connected; trying again…";
    setTimeout(connect, 2000);
  };
}

function receive(message) {
  if (message.type === "hello") greet(message);
  else if (message.type === "waiting") byId("took").textContent = `waiting; ${message.ahead} before you`;
  else if (message.type === "error") { pending = 0; if ((message.id ?? id) === id) problem(message.text); }
  else if (message.type === "result") show(message);
}

function problem(text) {
  byId("problem").textContent = text;
  byId("took").textContent = "";
}

function greet(message) {
  hello = message;
  // A record of the device before has its number of PEs.
  recording = null;
  byId("live").hidden = true; byId("live-hint").hidden = false;
  byId("device").textContent =
    `${hello.device}: ${hello.config}, ${hello.rows} × ${hello.cols} PEs at ${hello.clock_hz / 1e6} MHz`;
  byId("digit").hidden = model("digit") < 0;
  byId("picture").hidden = model("picture") < 0;
  byId("story").hidden = !hello.story;
  byId("watch").disabled = !hello.live;
  if (!hello.live) byId("live-hint").textContent = "The signals of the array are those of a simulated device; this is another.";
  layers(0, null);
}

const model = (kind) => (hello ? hello.models.findIndex((each) => each.kind === kind) : -1);

function send(kind, fields, bytes) {
  if (!hello || socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ model: model(kind), id: ++id, ...fields }));
  if (bytes) socket.send(bytes);
}

// Drawing.

const pad = byId("pad"), pen = pad.getContext("2d");
let strokes = [], down = null;
const cursor = { x: 160, y: 60, drawing: false };

function point(event) {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * 320, ((event.clientY - box.top) / box.height) * 320];
}

function begin(at) { down = [at]; strokes.push(down); draw(); ask(); }
function move(at) { if (down) { down.push(at); draw(); ask(); } }
function end() { down = null; draw(); ask(true); }

pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); begin(point(event)); event.preventDefault(); });
pad.addEventListener("pointermove", (event) => { if (down) (event.getCoalescedEvents?.() ?? [event]).forEach((each) => move(point(each))); });
pad.addEventListener("pointerup", end);
pad.addEventListener("pointercancel", end);
pad.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] };
  if (event.key === " ") {
    cursor.drawing = !cursor.drawing;
    if (cursor.drawing) begin([cursor.x, cursor.y]); else end();
  } else if (event.key in steps) {
    cursor.x = Math.min(312, Math.max(8, cursor.x + steps[event.key][0]));
    cursor.y = Math.min(312, Math.max(8, cursor.y + steps[event.key][1]));
    if (cursor.drawing) move([cursor.x, cursor.y]); else draw();
  } else return;
  event.preventDefault();
});
pad.addEventListener("focus", draw);
pad.addEventListener("blur", draw);

function draw() {
  pen.clearRect(0, 0, 320, 320);
  pen.lineWidth = 22; pen.lineCap = pen.lineJoin = "round"; pen.strokeStyle = pen.fillStyle = "#1b2733";
  for (const stroke of strokes) {
    pen.beginPath();
    stroke.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    if (stroke.length === 1) pen.lineTo(stroke[0][0] + 0.1, stroke[0][1]);
    pen.stroke();
  }
  if (pad.matches(":focus-visible")) {
    pen.fillStyle = cursor.drawing ? "#d1690e" : "#3b82f6";
    pen.beginPath(); pen.arc(cursor.x, cursor.y, 6, 0, 7); pen.fill();
  }
}

let asked = 0, later = 0;
function ask(now) {
  // As the pen moves, a few times a second; the device answers the last.
  clearTimeout(later);
  const wait = now ? 0 : Math.max(0, 100 - (performance.now() - asked));
  later = setTimeout(() => {
    if (!strokes.length) return;
    asked = performance.now();
    send("digit", { strokes, record: byId("watch").checked && (now === true) });
  }, wait);
}

byId("clear").onclick = () => {
  strokes = []; down = null; cursor.drawing = false; clearTimeout(later); draw();
  byId("answer").textContent = "–"; byId("scores").replaceChildren(); byId("problem").textContent = "";
  ++id;
};
byId("watch").onchange = () => ask(true);
byId("file").onchange = async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  if (hello && file.size > hello.most_bytes) {
    problem(`the picture has more than ${hello.most_bytes / 1e6} MB; choose a smaller one`);
    return;
  }
  watchCamera(null);
  byId("shown").src = URL.createObjectURL(file); byId("shown").hidden = false; byId("shown").alt = file.name;
  send("picture", { record: byId("watch").checked }, await file.arrayBuffer());
};

// The camera: the square in its middle, whenever the answer before is there. Browsers offer it to pages of this machine
// and over https; elsewhere the file's button remains, behind which a phone has its camera.

const video = byId("video"), FRAME = 320, FRAME_MS = 150, PATIENCE_MS = 5000;
let camera = null, photographs = 0, pending = 0;
byId("camera").hidden = !navigator.mediaDevices?.getUserMedia;

function watchCamera(stream) {
  camera?.getTracks().forEach((track) => track.stop());
  clearInterval(photographs);
  camera = stream; pending = 0;
  video.hidden = !stream; video.srcObject = stream;
  byId("camera").textContent = stream ? "Stop the camera" : "Use the camera";
  byId("camera").setAttribute("aria-pressed", String(Boolean(stream)));
  if (!stream) return;
  byId("shown").hidden = true;
  stream.getVideoTracks()[0].addEventListener("ended", () => { if (camera === stream) watchCamera(null); });
  video.play().catch(() => {});
  photographs = setInterval(photograph, FRAME_MS);
}

async function photograph() {
  const now = performance.now(), size = Math.min(video.videoWidth, video.videoHeight);
  if (!size || document.hidden || (pending && now - pending < PATIENCE_MS)) return;
  pending = now;
  const square = document.createElement("canvas");
  square.width = square.height = FRAME;
  square.getContext("2d").drawImage(
    video, (video.videoWidth - size) / 2, (video.videoHeight - size) / 2, size, size, 0, 0, FRAME, FRAME);
  const picture = await new Promise((done) => square.toBlob(done, "image/jpeg", 0.92));
  const bytes = await picture.arrayBuffer();
  if (camera) send("picture", { record: byId("watch").checked }, bytes);
}

byId("camera").onclick = async () => {
  if (camera) { watchCamera(null); return; }
  try {
    watchCamera(await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }));
    byId("problem").textContent = "";
  } catch (error) {
    problem(error.name === "NotFoundError" ? "there is no camera; choose a file"
      : `the browser gives no camera (${error.name}); allow it for this page, or choose a file`);
  }
};

// Answers.

function show(result) {
  pending = 0;
  awaited = result.recording ? result : null;
  if (result.id !== id) return;
  const about = hello.models[result.model];
  byId("problem").textContent = "";
  byId("answer").textContent = result.class;
  byId("took").textContent =
    `${result.cycles.toLocaleString()} cycles, ${((1e3 * result.cycles) / hello.clock_hz).toPrecision(3)} ms at the device's clock; ` +
    `${result.link_bytes.toLocaleString()} bytes over its link`;
  const order = result.scores.map((score, index) => [score, index]);
  if (order.length > 10) order.sort((a, b) => b[0] - a[0]);
  byId("scores").replaceChildren(...order.slice(0, 10).map(([score, index]) => {
    const line = document.createElement("li"), name = document.createElement("span"), bar = document.createElement("i");
    name.textContent = about.classes[index] ?? index;
    bar.style.width = `${100 * score}%`;
    if (index === result.best) line.className = "best";
    line.append(name, bar);
    return line;
  }));
  if (about.kind === "digit") seen(result.input);
  layers(result.model, result.layers);
}

function seen(values) {
  const canvas = byId("seen"), side = Math.sqrt(values.length), size = canvas.width / side, context = canvas.getContext("2d");
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  values.forEach((value, index) => {
    const shade = Math.round((255 * (value - low)) / span);
    context.fillStyle = `rgb(${shade},${shade},${shade})`;
    context.fillRect((index % side) * size, Math.floor(index / side) * size, size, size);
  });
}

function bar(parts, total) {
  const box = document.createElement("div");
  box.className = "bar";
  for (const [name, amount, title] of parts) {
    const piece = document.createElement("i");
    piece.style.width = `${(100 * amount) / (total || 1)}%`;
    piece.style.background = `var(--${name})`;
    piece.title = title;
    box.append(piece);
  }
  return box;
}

function layers(index, counters) {
  const about = hello.models[index];
  byId("layers").tBodies[0].replaceChildren(...about.layers.map((layer, place) => {
    const row = document.createElement("tr"), cells = [0, 0, 0, 0].map(() => row.insertCell()), taken = counters?.[place];
    cells[0].textContent = `${layer.name} (${layer.op}, ${layer.shape.join("×")})`;
    cells[1].textContent = taken ? taken.cycles.toLocaleString() : "";
    if (taken) cells[2].append(bar(Object.entries(CAUSES).map(([cause, name]) =>
      [name, taken[cause], `${cause}: ${taken[cause].toLocaleString()} cycles`]), taken.cycles));
    cells[3].append(bar([["busy", layer.memory_bytes, `${layer.memory_bytes.toLocaleString()} bytes`]], about.scratchpad_bytes));
    return row;
  }));
  byId("memory").textContent =
    `weights take ${about.weights.toLocaleString()} of ${about.weight_bytes.toLocaleString()} bytes` +
    (about.resident ? ", and stay on the device" : ", and are brought there for each inference");
}

// A story.

let telling = null;

byId("write").onsubmit = (event) => {
  event.preventDefault();
  if (telling) { telling.close(); return; }
  const mine = telling = opened("story"), began = performance.now();
  let pieces = 0, ended = "stopped";
  byId("text").textContent = ""; byId("tell").textContent = "Stop"; byId("told").textContent = hello.story.where;
  mine.onopen = () => mine.send(byId("prompt").value);
  mine.onmessage = (received) => {
    const message = JSON.parse(received.data);
    if (message.type === "piece") { byId("text").textContent += message.text; ++pieces; }
    else ended = message.type === "end" ? "the end" : message.text;
  };
  mine.onclose = () => {
    telling = null;
    byId("tell").textContent = "Write";
    const rate = (1e3 * pieces) / (performance.now() - began);
    byId("told").textContent = `${ended}; ${rate.toPrecision(2)} tokens a second here, ${hello.story.where}`;
  };
};

// The array.

let cycle = 0, running = true, before = 0;

function record(buffer) {
  const stride = hello.rows * hello.cols + 2;
  recording = { data: new Uint8Array(buffer), stride, cycles: buffer.byteLength / stride, whole: awaited?.recording?.whole ?? true };
  cycle = 0; running = true;
  byId("run").textContent = "Pause";
  byId("cycle").max = recording.cycles - 1;
  byId("live").hidden = false; byId("live-hint").hidden = true;
  strip();
}

const state = (at) => recording.data[at * recording.stride + recording.stride - 2];
const layer = (at) => recording.data[at * recording.stride + recording.stride - 1];
const cause = (bits) => (bits & BUSY ? "busy" : bits & WAITING ? "waiting" : bits & STARVED ? "starved" : "other");

function strip() {
  const canvas = byId("time"), context = canvas.getContext("2d"), each = recording.cycles / canvas.width;
  for (let x = 0; x < canvas.width; ++x) {
    let top = 0;
    for (const name of ["busy", "waiting", "starved", "other"]) {
      let count = 0, all = 0;
      for (let at = Math.floor(x * each); at < Math.max(Math.floor(x * each) + 1, (x + 1) * each) && at < recording.cycles; ++at, ++all)
        count += cause(state(at)) === name;
      const height = (canvas.height * count) / (all || 1);
      context.fillStyle = style(`--${name}`);
      context.fillRect(x, top, 1, height);
      top += height;
    }
  }
}

function frame(now) {
  const passed = Math.min(0.1, (now - before) / 1000);
  before = now;
  if (recording && !byId("live").hidden) {
    if (running) cycle = (cycle + passed * 2 ** byId("speed").value) % recording.cycles;
    paint(Math.floor(cycle));
  }
  requestAnimationFrame(frame);
}

function paint(at) {
  const canvas = byId("array"), context = canvas.getContext("2d"), { rows, cols } = hello;
  const width = canvas.width / cols, height = canvas.height / rows, bits = state(at);
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (let row = 0; row < rows; ++row)
    for (let col = 0; col < cols; ++col) {
      const value = (recording.data[at * recording.stride + row * cols + col] << 24) >> 24;
      const light = 92 - Math.min(60, Math.abs(value) * 0.6);
      context.fillStyle = `hsl(${value < 0 ? 210 : 25} 80% ${light}%)`;
      context.fillRect(col * width + 1, row * height + 1, width - 2, height - 2);
      if (width > 30 && height > 18) {
        context.fillStyle = light < 60 ? "#fff" : "#222"; context.font = "13px ui-monospace, monospace"; context.textAlign = "center";
        context.fillText(value, (col + 0.5) * width, (row + 0.5) * height + 5);
      }
    }
  context.strokeStyle = style(`--${cause(bits)}`); context.lineWidth = 6;
  context.strokeRect(3, 3, canvas.width - 6, canvas.height - 6);
  byId("cycle").value = at;
  const names = { busy: "the array computes", waiting: "beats wait for weights", starved: "beats wait for free accumulators",
    other: "the pipeline fills or empties" };
  const index = layer(at), rowsOf = byId("layers").tBodies[0].rows;
  byId("now").textContent = `cycle ${at.toLocaleString()} of ${recording.cycles.toLocaleString()}` +
    `${recording.whole ? "" : ", the first of more"}: ${rowsOf[index]?.cells[0].textContent ?? ""}; ${names[cause(bits)]}`;
  for (let place = 0; place < rowsOf.length; ++place) rowsOf[place].classList.toggle("now", place === index);
}

byId("run").onclick = () => { running = !running; byId("run").textContent = running ? "Pause" : "Go on"; };
byId("cycle").oninput = (event) => { cycle = Number(event.target.value); running = false; byId("run").textContent = "Go on"; };

draw();
connect();
requestAnimationFrame(frame);
