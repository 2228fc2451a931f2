/** What the environment decides about a build. Read here and nowhere else. */
export const practice = process.env.WXT_PRACTICE === 'true';

const fallback = practice ? 'http://127.0.0.1:8000' : 'https://register.proof-of-objection.example';
const register = process.env.REGISTER_URL || undefined;

/** An origin, without a trailing slash; refuses anything that is not one. */
export const registerUrl = originOf(register ?? fallback);

/** Builds go to `<outDir>/<browser>-mv3`. Only a build in `release` is for people who object. */
export const outDir = `${process.env.OUTPUT_DIR ?? '.output'}/${practice ? 'practice' : register ? 'release' : 'tests'}`;

/** Firefox replaces an extension by another one with the same id, so each register has an id of its own. */
export const geckoId = `extension@${new URL(registerUrl).hostname}`;

/** Tests resolve the fallback to a register of theirs; nowhere else does it exist. */
export const warning =
  register || practice
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
