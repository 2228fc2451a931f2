/** What the environment decides about a build. Read here and nowhere else. */
export const practice = process.env.WXT_PRACTICE === 'true';

/** Builds go to `<outDir>/<browser>-mv3`. */
export const outDir = `${process.env.OUTPUT_DIR ?? '.output'}/${practice ? 'practice' : 'production'}`;

const fallback = practice ? 'http://127.0.0.1:8000' : 'https://register.proof-of-objection.example';

/** An origin, without a trailing slash; refuses anything that is not one. */
export const registerUrl = originOf(process.env.REGISTER_URL || fallback);

/** Tests resolve the fallback to a register of theirs; nowhere else does it exist. */
export const warning =
  process.env.REGISTER_URL || practice
    ? undefined
    : `REGISTER_URL is not set: this build is for tests, nobody can record with it. ${fallback} does not exist.`;

function originOf(url: string): string {
  const { origin, protocol, hostname, pathname, search, hash } = new URL(url);
  if (protocol !== 'https:' && protocol !== 'http:') throw new Error(`REGISTER_URL must be http(s): ${url}`);
  if (pathname !== '/' || search || hash) throw new Error(`REGISTER_URL must be an origin without a path: ${url}`);
  if (protocol === 'http:' && !practice) throw new Error(`REGISTER_URL must be https in a production build: ${url}`);
  // It calls all its proofs practice, which those of a real register are not.
  if (practice && hostname !== '127.0.0.1') throw new Error(`a practice build records on this computer alone: ${url}`);
  return origin;
}
