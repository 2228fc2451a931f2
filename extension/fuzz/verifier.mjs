/**
 * The verifier of the page as a process: for `make fuzz`, which gives both verifiers the same bytes.
 *
 * Reads one case a line from standard input: JSON `{file, policy?, status?, now}`, files in base64. Writes one line for
 * each: `{verdict, checks, facts}`, `{refused: code}` where there is nothing to verify, or `{crash: words}`; and `cpuMs`.
 */
import { createInterface } from 'node:readline';
import { build } from 'vite';

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
const url = `data:text/javascript;base64,${Buffer.from(code).toString('base64')}`;
const { parsePinnedPolicy, verifyProofFile } = await import(url);

async function verify({ file, policy, status, now }) {
  try {
    // An empty file was given, too, and is none that can be read.
    const pinned = policy === undefined ? undefined : await parsePinnedPolicy(bytes(policy), 'file');
    const given = status === undefined ? undefined : bytes(status);
    const report = await verifyProofFile(bytes(file), { pinned, nowS: now, status: given });
    const { verdict, checks, facts } = report;
    const broken = checks.find((check) => check.code === 'internal');
    if (broken) return { crash: `${broken.id}: ${broken.detail}` };
    return { verdict, checks: checks.map(({ id, outcome, code }) => [id, outcome, code ?? null]), facts };
  } catch (error) {
    return error.name === 'ObjectionError' ? { refused: error.code } : { crash: String(error?.stack ?? error) };
  }
}

function bytes(base64) {
  return Uint8Array.from(Buffer.from(base64, 'base64'));
}

process.on('unhandledRejection', (reason) => {
  throw reason;
});
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const start = process.cpuUsage();
  const found = await verify(JSON.parse(line));
  const { user, system } = process.cpuUsage(start);
  console.log(JSON.stringify({ ...found, cpuMs: (user + system) / 1000 }));
}
