// node tokenizers.mjs <folder of node_modules> <tokenizer folder> <JSON array of texts>
// For each line on standard input: encodes all texts and writes the seconds and a sum over the ids.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, folder, texts] = process.argv.slice(2);
const { Tokenizer } = createRequire(`${packages}/`)("@huggingface/tokenizers");
const read = (name) => (existsSync(`${folder}/${name}`) ? JSON.parse(readFileSync(`${folder}/${name}`, "utf8")) : {});
const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
const rows = JSON.parse(readFileSync(texts, "utf8"));

createInterface({ input: process.stdin }).on("line", () => {
  const started = process.hrtime.bigint();
  let sum = 0;
  for (const row of rows) for (const id of tokenizer.encode(row).ids) sum = (Math.imul(sum, 31) + id) >>> 0;
  console.log(`${Number(process.hrtime.bigint() - started) / 1e9} ${sum}`);
});
