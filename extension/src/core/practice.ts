/** Practice proofs: made with a notice, or with a register, that nobody but its own computer can reach. */
const LOOPBACK = /^https?:\/\/(?:(?:[a-z0-9-]+\.)*localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?(?:\/|$)/i;

/** Whether one of the addresses (of the notice, as its holder signed it; of the issuer, as the register did) says so. */
export function isForPractice(address: string | undefined): boolean {
  return address !== undefined && LOOPBACK.test(address);
}
