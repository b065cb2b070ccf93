// The page at /: draw a digit or give pictures, and every image model predicts it.

const TEXT = {
  en: {
    tagline: "The models every PyTorch course teaches, trained, measured and served.",
    language: "Language", draw: "Draw a digit", hint: "Draw here", results: "Predictions of the models",
    pad: "Drawing area, for mouse, pen or finger; the sample digits below need only a keyboard",
    seen: "What the models see", clear: "Clear", samples: "Sample digits", sample: "Sample digit",
    drop: "Choose, drop or paste pictures", seenPicture: "As the model sees it", models: "Models", docs: "API documentation",
    metrics: "Metrics", waiting: "Draw a digit, or press a sample digit.",
    drawOther: "Draw or choose a picture", waitingOther: "Draw, or choose a picture.",
    agree: (label, n, all, name, sure) =>
      `${label}, predicted by ${n} of ${all} models. The most confident is ${name}: ${sure}`,
    single: (label, name, sure) => `${name}: ${label}, ${sure}`,
    probabilities: "Probabilities of", parameters: "Parameters", score: "Test score", data: "Data",
    task: "Task", classification: "classification", binary: "two classes",
    regression: "regression", "curves.png": "Training curves of",
    "confusion.png": "Test errors of", picture: "Picture of",
    unreachable: "The server does not answer. The next stroke tries again.",
    busy: "The server cannot answer now. The next stroke tries again.",
    reading: (name) => `Reading ${name} …`, tryTable: "Try it", predict: "Predict",
    refused: (why) => why, ms: "ms", none: "No image model is served here.",
  },
  zh: {
    tagline: "每门 PyTorch 课程都会讲的模型：已训练、已测量、可直接调用。",
    language: "语言", draw: "写一个数字", hint: "在这里书写", results: "模型的识别结果",
    pad: "书写区域，可用鼠标、笔或手指；只用键盘时请按下方的示例数字",
    seen: "模型所见", clear: "清除", samples: "示例数字", sample: "示例数字",
    drop: "选择、拖入或粘贴图片", seenPicture: "模型看到的样子", models: "模型", docs: "接口文档",
    metrics: "运行指标", waiting: "写一个数字，或按一个示例数字。",
    drawOther: "画一幅图或选择图片", waitingOther: "画一幅图，或选择图片。",
    agree: (label, n, all, name, sure) =>
      `${n}/${all} 个模型识别为 ${label}，${name} 最有把握：${sure}`,
    single: (label, name, sure) => `${name}：${label}，${sure}`,
    probabilities: "各类别的概率：", parameters: "参数", score: "测试成绩", data: "数据",
    task: "任务", classification: "多分类", binary: "二分类",
    regression: "回归", "curves.png": "训练曲线：",
    "confusion.png": "测试错误：", picture: "图片：",
    unreachable: "服务器没有应答；下一笔会再试。",
    busy: "服务器暂时无法应答；下一笔会再试。",
    reading: (name) => `正在识别 ${name} …`, tryTable: "试一试", predict: "预测",
    refused: (why) => `服务器的答复：${why}`, ms: "毫秒", none: "这里没有图像模型。",
  },
};

// What the shipped cards say, for readers of Chinese; another card's text stays as it is.
const CHINESE = {
  mnist: "MNIST 手写数字", diabetes: "糖尿病数据集", "breast-cancer": "乳腺癌数据集",
  "Centered single digits as in MNIST; anything else gets a digit too.":
    "适用于像 MNIST 那样居中的单个数字；其他图片也会被识别成某个数字。",
  "442 patients of one study; a teaching example, not for medical use.":
    "数据来自一项研究的 442 名患者；仅供教学，不可用于医疗。",
  "569 patients of one hospital; a teaching example, not for medical use.":
    "数据来自一家医院的 569 名患者；仅供教学，不可用于医疗。",
};

// Strokes of the sample digits, in a square of 100; a repeated point is a corner.
const SAMPLES = [
  "52 13 35 22 27 50 34 78 50 87 66 78 73 50 67 22 52 13 44 17",
  "56 12 45 88",
  "28 32 35 17 52 12 68 22 67 40 48 64 26 85 26 85 76 83",
  "30 19 49 12 66 21 63 38 46 46 46 46 67 55 70 73 53 88 28 81",
  "36 13 27 52 27 52 72 50,67 14 60 89",
  "70 14 37 14 37 14 33 45 33 45 54 41 70 56 66 79 46 88 27 80",
  "62 12 42 28 31 56 36 80 52 88 68 77 64 61 50 57 34 67",
  "26 17 26 17 73 15 73 15 57 48 46 88",
  "67 24 51 12 34 22 39 39 60 56 67 74 50 88 33 74 41 55 61 38 67 24",
  "67 28 51 13 34 26 36 44 51 49 65 38 67 28 65 58 58 88",
].map((digit) => digit.split(",").map((stroke) =>
  [...stroke.matchAll(/(\d+) (\d+)/g)].map(([, x, y]) => [x / 100, y / 100])));

const INK = "#f4f6f8";
const $ = (id) => document.getElementById(id);
const pad = $("pad").getContext("2d");
const seen = $("seen").getContext("2d");

let models = []; // the answer of v1/models, with `result` {probabilities, ms} and `problem`
let readers = []; // those of them that take images
let strokes = []; // each an array of [x, y], 0 to 1
let round = 0; // answers of an earlier round are dropped
let problem = ""; // of v1/models itself
let loading = null;
let timer = 0;
let saying = 0;
let reading = ""; // the name of the picture that is being read
let lang = remembered() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

function remembered(value) {
  try {
    if (value) localStorage.setItem("language", value);
    const language = localStorage.getItem("language");
    return language in TEXT ? language : null;
  } catch {
    return null; // storage is switched off
  }
}

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const digits = () => !readers.length || readers.some(({ labels }) => labels.join("") === "0123456789");
const t = (key) => (!digits() && TEXT[lang][`${key}Other`]) || TEXT[lang][key];
const local = (text) => (lang === "zh" && CHINESE[text]) || text;
const percent = (fraction) => `${(100 * fraction).toFixed(1)} %`;
const best = (values) => values.indexOf(Math.max(...values));

// --- drawing ---

function draw(context, width, position) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = INK;
  for (const stroke of strokes) {
    const points = stroke.map(position);
    const [x, y] = points.at(-1);
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [[x1, y1], [x2, y2]] = [points[i], points[i + 1]];
      context.quadraticCurveTo(x1, y1, (x1 + x2) / 2, (y1 + y2) / 2);
    }
    context.lineTo(x + 0.01, y); // a tap is a dot
    context.stroke();
  }
}

/** Draw in a square of `size` pixels and return them, 0 to 255. */
function raster(size, width, position) {
  const context = new OffscreenCanvas(size, size).getContext("2d", { willReadFrequently: true });
  draw(context, width, position);
  const { data } = context.getImageData(0, 0, size, size);
  return Array.from({ length: size * size }, (_, i) => data[4 * i + 3]);
}

/** As in MNIST: the ink fits a box of 20 pixels, its center of mass is the center of 28. */
function mnist() {
  const [xs, ys] = [0, 1].map((axis) => strokes.flat().map((point) => point[axis]));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const extent = Math.max(Math.max(...xs) - left, Math.max(...ys) - top, 0.1);
  const width = 2.4;
  const scale = (20 - width) / extent;
  const at = (dx, dy) =>
    raster(28, width, ([x, y]) => [(x - left) * scale + dx, (y - top) * scale + dy]);
  const first = at(4, 4);
  const mass = first.reduce((total, value) => total + value);
  const center = (of) => first.reduce((total, value, i) => total + value * of(i), 0) / mass;
  return at(17.5 - center((i) => i % 28), 17.5 - center((i) => Math.floor(i / 28)));
}

function paint() {
  $("hint").hidden = strokes.length > 0;
  pad.clearRect(0, 0, 640, 640);
  draw(pad, 48, ([x, y]) => [640 * x, 640 * y]);
  if (!strokes.length) seen.clearRect(0, 0, seen.canvas.width, seen.canvas.height);
  else timer ||= setTimeout(read, 40);
}

async function read() {
  timer = 0;
  if (!models.length) await load();
  if (!strokes.length) return;
  const digit = mnist();
  const image = digit.flatMap((value) => [244, 246, 248, value]);
  seen.canvas.width = seen.canvas.height = 28; // a chosen picture may have had another size
  seen.putImageData(new ImageData(new Uint8ClampedArray(image), 28), 0, 0);
  for (const model of readers) {
    const [, size, , channels] = model.input.shape;
    model.next = size === 28 && channels === 1 ? digit
      : raster(size, 0.075 * size, ([x, y]) => [x * size, y * size])
        .flatMap((value) => Array(channels).fill(value));
    pump(model);
  }
}

/** One request in flight a model; of the drawings that wait for it, the latest is sent. */
async function pump(model) {
  if (model.flying) return;
  model.flying = true;
  while (model.next) {
    const data = model.next;
    model.next = null;
    await ask(model, () => infer(model, data), round);
  }
  model.flying = false;
}

function fresh(drawn) {
  round += 1;
  reading = "";
  strokes = drawn;
  for (const model of readers) {
    Object.assign(model, { next: null, result: null, problem: "", seen: "" });
    show(model);
  }
  for (const button of $("files").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", false);
  }
  paint();
}

// --- the server ---

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.timeout(30000) });
  } catch {
    throw new Error(t("unreachable"));
  }
  const body = await response.json().catch(() => ({}));
  if (response.status === 503) throw new Error(`${t("busy")} (${body.error ?? 503})`);
  if (!response.ok) throw new Error(t("refused")(body.error ?? `HTTP ${response.status}`));
  return body;
}

async function infer(model, data) {
  const { name, shape } = model.input;
  const input = { name, shape: [1, ...shape.slice(1)], datatype: "UINT8", data };
  const answer = await call(`v2/models/${model.name}/infer`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ inputs: [input], outputs: [{ name: "probabilities" }] }),
  });
  return answer.outputs[0].data;
}

async function predict(model, file) {
  const answer = await call(`v1/predict/${model.name}?seen=yes`, {
    method: "POST",
    headers: { "Content-Type": file.type || "application/octet-stream" },
    body: file,
  });
  const { error, probabilities, seen: picture } = answer.predictions[0];
  if (error) throw new Error(t("refused")(error));
  model.seen = picture;
  return model.labels.map((label) => probabilities[label]);
}

async function ask(model, question, mine) {
  const began = performance.now();
  let result = null;
  let trouble = "";
  try {
    result = { probabilities: await question(), ms: performance.now() - began };
  } catch (error) {
    trouble = error.message;
  }
  if (mine !== round) return;
  Object.assign(model, { result, problem: trouble });
  show(model);
}

function load() {
  loading ??= call("v1/models").then(({ summaries }) => {
    problem = "";
    models = summaries;
    readers = models.filter(({ input, labels }) => input.shape.length === 4 && labels.length);
    build();
  }, (error) => {
    problem = error.message;
    say();
  }).finally(() => { loading = null; });
  return loading;
}

// --- pictures ---

async function take(files) {
  if (!files.length) return;
  for (const image of $("files").querySelectorAll("img[src^=blob]")) URL.revokeObjectURL(image.src);
  const buttons = [...files].map((file) => {
    const image = make("img", { src: URL.createObjectURL(file), alt: "" });
    image.onerror = () => image.remove();
    const button = make("button", { type: "button", "aria-pressed": false },
      make("span", { class: "pair" }, image),
      make("span", {}, file.name || t("picture")), make("b"));
    button.onclick = () => readFile(file, button);
    return button;
  });
  $("files").replaceChildren(...buttons.map((button) => make("li", {}, button)));
  for (const [i, button] of buttons.entries()) if (!await readFile(files[i], button)) break;
}

/** Return whether the answers came before the user started something else. */
async function readFile(file, button) {
  const named = (error) => { throw new Error(`${file.name}: ${error.message}`); };
  if (!models.length) await load();
  fresh([]);
  const mine = round;
  button.setAttribute("aria-pressed", true);
  button.setAttribute("aria-busy", true);
  reading = file.name || t("picture");
  say();
  await Promise.all(readers.map((model) =>
    ask(model, () => predict(model, file).catch(named), mine)));
  button.removeAttribute("aria-busy");
  if (mine !== round) return false;
  reading = "";
  say();
  showSeen(button, mine);
  button.querySelector("b").textContent = majority()?.label ?? "–";
  button.title = readers.find((model) => model.problem)?.problem ?? "";
  return true;
}

/** Show beside a picture what the models see: one image, or one for each kind of input. */
function showSeen(button, mine) {
  const images = [...new Set(readers.map((model) => model.seen).filter(Boolean))].map((source) => {
    const names = readers.filter((model) => model.seen === source).map((model) => model.name);
    return make("figure", { title: names.join(", ") },
      make("img", { src: source, alt: t("seenPicture") }),
      make("figcaption", { "data-text": "seenPicture" }, t("seenPicture")));
  });
  const [picture] = button.querySelectorAll("img[src^=blob]");
  button.querySelector(".pair").replaceChildren(...(picture ? [picture] : []), ...images);
  const [image] = images.map((figure) => figure.querySelector("img"));
  image?.decode().then(() => {
    if (mine !== round) return;
    [seen.canvas.width, seen.canvas.height] = [image.naturalWidth, image.naturalHeight];
    seen.drawImage(image, 0, 0);
  }).catch(() => {}); // replaced meanwhile
}

// --- what is shown ---

function show(model) {
  const block = document.querySelector(`[data-model="${CSS.escape(model.name)}"]`);
  const { probabilities, ms } = model.result ?? {};
  const top = probabilities ? best(probabilities) : -1;
  block.querySelector("[data-answer]").textContent = model.labels[top] ?? "–";
  block.querySelector("[data-sure]").textContent = probabilities ? percent(probabilities[top]) : "";
  block.querySelector("[data-latency]").textContent =
    probabilities ? `${ms.toFixed(ms < 10 ? 1 : 0)} ${t("ms")}` : "";
  block.querySelectorAll("[role=meter]").forEach((meter, i) => {
    const share = probabilities?.[i] ?? 0;
    meter.setAttribute("aria-valuenow", (100 * share).toFixed(1));
    meter.setAttribute("aria-valuetext", probabilities ? percent(share) : "–");
    meter.title = `${model.labels[i]}: ${percent(share)}`;
    meter.classList.toggle("top", i === top);
    meter.style.setProperty("--share", share);
  });
  say();
}

function majority() {
  const votes = {};
  const sureness = ({ result }) => Math.max(...result.probabilities);
  const answered = readers.filter((model) => model.result);
  for (const model of answered) {
    (votes[model.labels[best(model.result.probabilities)]] ??= []).push(model);
  }
  const [winner] = Object.entries(votes).sort(([, a], [, b]) => b.length - a.length);
  if (!winner) return null;
  const [label, agreeing] = winner;
  const surest = agreeing.reduce((a, b) => (sureness(b) > sureness(a) ? b : a));
  return { label, n: agreeing.length, name: surest.name, sure: percent(sureness(surest)) };
}

/** Show a problem at once, the summary when no answer came for a quarter of a second. */
function say() {
  const line = problem || (readers.find((model) => model.problem)?.problem ?? "");
  if ($("problem").textContent !== line) $("problem").textContent = line;
  clearTimeout(saying);
  if (reading && !line) {
    $("summary").textContent = t("reading")(reading);
    return;
  }
  saying = setTimeout(() => {
    const winner = majority();
    $("summary").textContent = line ? ""
      : !winner ? t(models.length && !readers.length ? "none" : "waiting")
      : readers.length === 1 ? t("single")(winner.label, winner.name, winner.sure)
      : t("agree")(winner.label, winner.n, readers.length, winner.name, winner.sure);
  }, 250);
}

function block(model) {
  const long = model.labels.some((label) => label.length > 2);
  const meters = model.labels.map((label) => make("div", { role: "meter", "aria-label": label,
    "aria-valuemin": 0, "aria-valuemax": 100 }, make("i"), make("span", {}, label)));
  return make("article", { "data-model": model.name },
    make("h3", {}, model.name), make("small", { "data-latency": "" }),
    make("strong", { "data-answer": "" }), make("small", { "data-sure": "" }),
    make("div", { class: long ? "bars long" : "bars", role: "group",
      "aria-label": `${t("probabilities")} ${model.name}` }, ...meters));
}

function card(model) {
  const names = [make("p", { lang: "en" }, model.title), make("p", { lang: "zh-CN" }, model.lesson)];
  const facts = [["score", model.score], ["parameters", model.parameters.toLocaleString("en")],
    ["data", local(model.dataset)], ["task", t(model.task) ?? model.task]];
  return make("article", { "data-card": model.name },
    make("h3", {}, model.name), ...(lang === "zh" ? names.reverse() : names),
    make("dl", {}, ...facts.map(([key, value]) =>
      make("div", {}, make("dt", {}, t(key)), make("dd", {}, value)))),
    make("div", { class: "pictures" }, ...model.pictures.map((source) =>
      make("a", { href: source, target: "_blank" }, make("img", { src: source, loading: "lazy",
        alt: `${t(source.split("/").at(-1)) ?? t("picture")} ${model.name}` })))),
    ...(model.columns ? [table(model)] : []),
    make("p", { class: "limits", lang: local(model.limits) === model.limits ? "en" : "zh-CN" },
      local(model.limits)));
}

/** A form with a row's values, those of the training data's mean to begin with. */
function table(model) {
  const fields = model.columns.map((column, i) => make("label", {}, make("span", {}, column),
    make("input", { type: "number", step: "any", required: "", value: model.example[i] })));
  const output = make("output");
  const form = make("form", {}, make("div", { class: "fields" }, ...fields),
    make("button", {}, t("predict")), output);
  form.onsubmit = async (event) => {
    event.preventDefault();
    output.textContent = "…";
    try {
      output.textContent = await row(model, fields.map((field) => field.lastChild.valueAsNumber));
    } catch (error) {
      output.textContent = error.message;
    }
  };
  return make("details", { class: "table" }, make("summary", {}, t("tryTable")), form);
}

async function row(model, data) {
  const input = { name: model.input.name, shape: [1, data.length], datatype: "FP32", data };
  const { outputs } = await call(`v2/models/${model.name}/infer`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ inputs: [input] }),
  });
  const values = outputs.at(-1).data;
  if (!model.labels.length) return values.map((value) => value.toPrecision(4)).join(", ");
  return `${model.labels[best(values)]} ${percent(Math.max(...values))}`;
}

/** Show everything in the chosen language. */
function build() {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  $("language").value = lang;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = t(element.dataset.text);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
  }
  $("samples").hidden = !digits();
  for (const button of $("samples").children) {
    button.setAttribute("aria-label", `${t("sample")} ${button.dataset.digit}`);
  }
  $("results").replaceChildren(...readers.map(block));
  $("cards").replaceChildren(...models.map(card));
  readers.forEach(show);
  say();
}

// --- what the user does ---

const live = new Map(); // pointer id -> its stroke
const point = ({ clientX, clientY }) => {
  const box = $("pad").getBoundingClientRect();
  const clamp = (value) => Math.min(Math.max(value, 0), 1);
  return [clamp((clientX - box.left) / box.width), clamp((clientY - box.top) / box.height)];
};
$("pad").onpointerdown = (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  if (!strokes.length) fresh([]);
  $("pad").setPointerCapture(event.pointerId);
  live.set(event.pointerId, [point(event)]);
  strokes.push(live.get(event.pointerId));
  paint();
};
$("pad").onpointermove = (event) => {
  const stroke = live.get(event.pointerId);
  if (!stroke) return;
  const events = event.getCoalescedEvents?.() ?? [];
  stroke.push(...(events.length ? events : [event]).map(point));
  paint();
};
$("pad").onpointerup = $("pad").onpointercancel = (event) => live.delete(event.pointerId);

$("samples").append(...SAMPLES.map((digit, i) => {
  const button = make("button", { type: "button", "data-digit": i }, String(i));
  button.onclick = () => fresh([...digit]);
  return button;
}));
$("clear").onclick = () => { fresh([]); $("files").replaceChildren(); };
$("language").onchange = ({ target }) => { lang = target.value; remembered(lang); build(); };
$("file").onchange = ({ target }) => { take([...target.files]); target.value = ""; };
document.onpaste = (event) => take([...event.clipboardData.files]);
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => { event.preventDefault(); take([...event.dataTransfer.files]); };

build();
load();
