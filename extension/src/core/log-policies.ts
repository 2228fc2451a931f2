/** Which log to trust, and which of its witnesses must have cosigned (C2SP tlog-policy). */
import { formatHex } from './encoding';
import { ObjectionError } from './errors';
import { COSIGNATURE, formatVerifierKey, parseVerifierKey, type VerifierKey, verifyCosignatures } from './notes';

const NO_QUORUM = 'none';
const MAX_WITNESSES = 16;
const MAX_GROUPS = 16;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/;
const NAME = /^[!-~]{1,255}$/;
const THRESHOLD = /^[1-9][0-9]?$/;

/** Counts as one witness once `needed` of its `members` (witnesses or earlier groups) have cosigned. */
export interface Group {
  name: string;
  needed: number;
  members: string[];
}

/**
 * `key`: the log's; its name is the log's origin. `witnesses` by the policy's names for them. `quorum` names the witness
 * or group that must have cosigned, or is `none`.
 */
export interface LogPolicy {
  key: VerifierKey;
  witnesses: Map<string, VerifierKey>;
  groups: Group[];
  quorum: string;
}

/** Reads a tlog-policy with exactly one log; addresses in it are ignored. Throws `policy_malformed`. */
export async function parseLogPolicy(text: string): Promise<LogPolicy> {
  const lines = meaningfulLines(text);
  if (lines.at(-1)?.[0] !== 'quorum' || lines.filter(([keyword]) => keyword === 'log').length !== 1) {
    throw malformed('a log policy has exactly one log, and one quorum, which comes last');
  }
  const reader = new Reader();
  for (const [keyword = '', ...items] of lines) await reader.read(keyword, items);
  return reader.policy();
}

/** Writes a policy in its one canonical form, without addresses and comments. */
export function formatLogPolicy({ key, witnesses, groups, quorum }: LogPolicy): string {
  const lines = [
    `log ${formatVerifierKey(key)}`,
    ...[...witnesses].map(([name, witness]) => `witness ${name} ${formatVerifierKey(witness)}`),
    ...groups.map((group) => `group ${group.name} ${formatThreshold(group)} ${group.members.join(' ')}`),
    `quorum ${quorum}`,
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/**
 * Returns [name, time in seconds] of each witness of `policy` that cosigned `note`, its earliest time, in the policy's
 * order. Whether they suffice says `quorumMet`; the log's own signature is checked by `verifyCheckpoint`.
 * Throws `note_malformed`, or `note_unverified` when the signature of a known witness does not hold.
 */
export async function verifyWitnesses(note: string, policy: LogPolicy): Promise<[string, number][]> {
  const cosigned: [string, number][] = [];
  for (const [name, key] of policy.witnesses) {
    const times = await verifyCosignatures(note, key);
    if (times.length > 0) cosigned.push([name, Math.min(...times)]);
  }
  return cosigned;
}

/** Tells whether the witnesses named in `cosigned` are those that the policy asks for. */
export function quorumMet(policy: LogPolicy, cosigned: Iterable<string>): boolean {
  const satisfied = new Set([NO_QUORUM, ...cosigned]);
  // Members are defined before their group.
  for (const { name, needed, members } of policy.groups) {
    if (members.filter((member) => satisfied.has(member)).length >= needed) satisfied.add(name);
  }
  return satisfied.has(policy.quorum);
}

/** Collects the definitions of a policy, line by line. */
class Reader {
  private log: VerifierKey | undefined;
  private readonly witnesses = new Map<string, VerifierKey>();
  private readonly groups: Group[] = [];
  private readonly names = new Set<string>();
  private readonly members = new Set<string>();
  private quorum: string | undefined;

  async read(keyword: string, items: string[]): Promise<void> {
    const [first = '', second = '', ...more] = items;
    if (keyword === 'log' && (items.length === 1 || items.length === 2)) {
      this.log = await parseVerifierKey(first);
    } else if (keyword === 'witness' && (items.length === 2 || items.length === 3)) {
      this.addWitness(first, await parseVerifierKey(second, COSIGNATURE));
    } else if (keyword === 'group' && items.length >= 3) {
      this.addGroup(first, second, more);
    } else if (keyword === 'quorum' && items.length === 1 && this.quorum === undefined) {
      if (first !== NO_QUORUM && !this.names.has(first)) throw malformed('the quorum names nothing that was defined');
      this.quorum = first;
    } else {
      throw malformed(`not a line of a log policy: ${keyword}`);
    }
  }

  policy(): LogPolicy {
    if (!this.log || this.quorum === undefined) throw malformed('a log policy has one log and one quorum');
    return { key: this.log, witnesses: this.witnesses, groups: this.groups, quorum: this.quorum };
  }

  private addWitness(name: string, key: VerifierKey): void {
    this.define(name);
    // Under two names one witness would count twice.
    for (const known of this.witnesses.values()) {
      if (formatHex(known.raw) === formatHex(key.raw)) throw malformed('two witnesses have one key');
    }
    if (this.witnesses.size === MAX_WITNESSES) throw malformed(`more than ${MAX_WITNESSES} witnesses`);
    this.witnesses.set(name, key);
  }

  private addGroup(name: string, threshold: string, members: string[]): void {
    const free = members.every((member) => this.names.has(member) && !this.members.has(member));
    if (new Set(members).size !== members.length || !free) {
      throw malformed("a group's members are defined before it, and belong to one group, once");
    }
    const needed = threshold === 'any' ? 1 : threshold === 'all' ? members.length : parseThreshold(threshold);
    if (needed > members.length || this.groups.length === MAX_GROUPS) {
      throw malformed(`a group needs more members than it has, or there are more than ${MAX_GROUPS} groups`);
    }
    this.define(name);
    for (const member of members) this.members.add(member);
    this.groups.push({ name, needed, members });
  }

  private define(name: string): void {
    if (!NAME.test(name) || name === NO_QUORUM || this.names.has(name)) {
      throw malformed("a name is printable ASCII, is not 'none', and is defined once");
    }
    this.names.add(name);
  }
}

function meaningfulLines(text: string): string[][] {
  if (CONTROL.test(text)) throw malformed('control characters in a log policy');
  const lines = text.split('\n').map((line) => line.replace(/^[ \t]+|[ \t]+$/g, ''));
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(/[ \t]+/));
}

function parseThreshold(text: string): number {
  if (!THRESHOLD.test(text)) throw malformed('a group needs any, all, or a number of its members');
  return Number(text);
}

function formatThreshold({ needed, members }: Group): string {
  if (needed === 1) return 'any';
  return needed === members.length ? 'all' : String(needed);
}

const malformed = (message: string) => new ObjectionError('policy_malformed', message);
