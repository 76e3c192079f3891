// Holds Kubernetes' documents to the models of their kinds. Reads an array of { from, document } and writes an array of what is wrong.
import { readFileSync } from 'node:fs';

const packages = { 'cert-manager.io': '@kubernetes-models/cert-manager/', 'monitoring.coreos.com': '@kubernetes-models/prometheus-operator/' };
const problems = [];
for (const { from, document } of JSON.parse(readFileSync(0, 'utf8'))) {
  const { apiVersion, kind } = document;
  const where = `${from}: ${apiVersion} ${kind} ${document.metadata?.name}`;
  try {
    const models = await import(`${packages[apiVersion.split('/')[0]] ?? 'kubernetes-models/'}${apiVersion}`);
    if (!models[kind]) throw new Error('there is no model of this kind');
    new models[kind](document).validate();
  } catch (e) {
    problems.push(`${where}: ${e.message}`);
  }
}
console.log(JSON.stringify(problems));
