/** What the verifier of the page costs, in Node, on proofs that `python -m tests.bench.documents FOLDER` left there. */
import { readFile } from 'node:fs/promises';
import { build } from 'vite';

const ROUNDS = 20;
const folder = process.argv[2];
if (!folder) throw new Error('give the folder with proof.asice and proof.pdf');

const bundled = await build({
  root: new URL('..', import.meta.url).pathname,
  configFile: false,
  logLevel: 'error',
  publicDir: false,
  build: {
    write: false,
    target: 'es2022',
    lib: { entry: 'src/core/verification.ts', formats: ['es'], fileName: 'verification' },
  },
});
const { code } = bundled[0].output[0];
const { verifyProofFile } = await import(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`);

for (const name of ['proof.asice', 'proof.pdf']) {
  const raw = new Uint8Array(await readFile(`${folder}/${name}`));
  const costs = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    const report = await verifyProofFile(raw, { nowS: Math.floor(Date.now() / 1000) });
    costs.push(performance.now() - start);
    if (report.verdict !== 'valid') throw new Error(`what was measured does not work: ${report.verdict}`);
  }
  const median = costs.sort((one, other) => one - other)[ROUNDS / 2];
  console.log(`verifier of the page, ${name}: ${median.toFixed(1)} ms, ${(1000 / median).toFixed(1)} a second (Node)`);
}
