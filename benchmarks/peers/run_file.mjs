// Run one ONNX file in ONNX Runtime's JavaScript packages; print its largest difference.
//
//     node run_file.mjs onnxruntime-node model.onnx model.json
//
// In the folder of an npm install of its own, see ../runtimes.py. `model.json` has the input's name,
// dtype, shape and numbers, and the first output of ONNX Runtime for it.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [name, file, json] = process.argv.slice(2);
try {
  const ort = createRequire(path.join(process.cwd(), "here.js"))(name);
  const { input, dtype, shape, rows, expected } = JSON.parse(fs.readFileSync(json, "utf8"));
  const numbers = dtype === "uint8" ? Uint8Array.from(rows) : Float32Array.from(rows);
  const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(file)));
  const outputs = await session.run({ [input]: new ort.Tensor(dtype, numbers, shape) });
  const found = outputs[session.outputNames[0]].data;
  if (found.length !== expected.length) throw new Error(`${found.length} numbers`);
  const differences = expected.map((number, at) => Math.abs(number - found[at]));
  console.log(`difference ${Math.max(...differences)}`);
} catch (error) {
  console.log(`failed ${error.name}: ${String(error.message).split("\n")[0].slice(0, 200)}`);
}
process.exit(0); // worker threads of WebAssembly would keep it alive
