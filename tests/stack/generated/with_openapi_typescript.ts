// Certifies an image with the types that openapi-typescript made; prints the certificate.
// Arguments: address, image file, model.
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const [url, image, model] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url });
const content = new Blob([await readFile(image)]);

function form(fields: Record<string, string | Blob>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
}

async function certify(sigma: string) {
  return client.POST("/certify", {
    body: { image: [""], sigma: [sigma], model, n_max: 500 },
    bodySerializer: ({ sigma, model, n_max }) =>
      form({ image: content, sigma: sigma[0]!, model: model!, n_max: String(n_max) }),
  });
}

async function get(id: string) {
  const { data } = await client.GET("/certifications/{certification_id}", {
    params: { path: { certification_id: id } },
  });
  if (data === undefined) throw new Error("no answer");
  return data;
}

const { data: sent } = await certify("0.25");
if (sent === undefined || "certifications" in sent) throw new Error("refused");
let job = await get(sent.id);
while (job.status === "queued" || job.status === "running") {
  await new Promise((resolve) => setTimeout(resolve, 200));
  job = await get(sent.id);
}
if (job.status !== "finished") throw new Error(job.status);
const certificate = job.certificates[0]!;
if (certificate.outcome !== "certified") throw new Error(certificate.statement);
const { error } = await certify("-1");
const { radius, prediction } = certificate;
console.log(JSON.stringify({ id: job.id, radius, prediction, refusal: error?.code }));
