// Checks the control plane's OpenAPI document, makes a client of it, and has that client submit a run and watch it to its end.
// node client.mjs DOCUMENT ADDRESS TOKEN_FILE PLAN SCRATCH_FOLDER
import { readFile, rename } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import SwaggerParser from "@apidevtools/swagger-parser";
import { generateApi } from "swagger-typescript-api";

const [document, address, tokenFile, planFile, scratch] = process.argv.slice(2);
const api = await SwaggerParser.validate(document);
console.log(`valid ${api.openapi} ${Object.keys(api.paths).length}`);

await generateApi({ input: path.resolve(document), output: scratch, fileName: "Api.ts", toJS: true, silent: true });
await rename(path.join(scratch, "Api.js"), path.join(scratch, "Api.mjs"));
const { Api } = await import(pathToFileURL(path.join(scratch, "Api.mjs")));
const token = (await readFile(tokenFile, "utf8")).trim();
const { v1 } = new Api({ baseUrl: address, baseApiParams: { headers: { Authorization: `Bearer ${token}` } } });

const submitted = await v1.submitRun({ plan: await readFile(planFile, "utf8") }, { format: "json" });
const run = submitted.data.run;
console.log(`submitted ${run} ${submitted.status}`);

// Blank lines end an event; fields are one line each here.
async function* events(body) {
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      yield Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
    }
  }
}

const rounds = new Set();
for await (const { event, data } of events((await v1.watchRun(run)).body)) {
  if (event === "ping") continue;
  const content = JSON.parse(data);
  if (event === "round") rounds.add(content.round);
  if (event === "snapshot") content.rounds.forEach(({ round }) => rounds.add(round));
  const status = event === "snapshot" ? content.state.status : event === "state" ? content.status : "running";
  if (status !== "running") {
    console.log(`${status} rounds ${[...rounds].sort((a, b) => a - b).join(",")}`);
    process.exit(status === "finished" ? 0 : 1);
  }
}
console.error("the stream ended before the run");
process.exit(1);
