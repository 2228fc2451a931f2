/** From what the page showed and what the person chose to the exact bytes that will be signed. */
import { components } from '../../../schemas/openapi.json';
import statements from '../../../schemas/statements.json';
import type { ObjectionReceipt, SeenNotice } from './contract.gen';
import { type Notice, type Platform as NoticePlatform, sanitiseUrl } from './detection';
import { type Bytes, formatJson, type Json, sha256Hex, utf8 } from './encoding';
import { allowedValues } from './schema';
import { disclosureDigest, formatDisclosure, SLOTS, type Slot } from './tokens';

export type Platform = ObjectionReceipt['platform'];
export type Country = ObjectionReceipt['country'];
export type DataCategory = ObjectionReceipt['objection']['data_categories'][number];
export type Disclosures = Partial<Record<Slot, string>>;

export const STATEMENT_TEMPLATE = 'meta-ai-training-1';
export const STATEMENTS: Record<string, string> = statements[STATEMENT_TEMPLATE];
export const PLATFORMS = allowedValues('ObjectionReceipt', 'platform') as Platform[];
export const COUNTRIES = allowedValues('ObjectionReceipt', 'country') as Country[];
export const DATA_CATEGORIES = allowedValues('Objection', 'data_categories') as DataCategory[];
export const NOTICE_TEXT_FILE = 'notice.txt';
export const SCREENSHOT_FILE = 'screenshot.jpg';
export const MAX_VALUE_CHARACTERS = 320;

/** Fixed when the review opens. `salt` and `decoy` are 16 and 32 random bytes in base64url. */
export interface Facts {
  jti: string;
  notice: Notice | undefined;
  screenshot: Bytes | undefined;
  slots: Record<Slot, { salt: string; decoy: string }>;
}

/** What the person decides on the review sheet. */
export interface Choices {
  platform: Platform;
  statementLanguage: string;
  dataCategories: DataCategory[];
  country: Country;
  /** The slug of the one campaign that the person joins with this objection, or nothing. */
  campaign: string;
  sendNoticeText: boolean;
  sendScreenshot: boolean;
  declared: Partial<Record<Slot, string>>;
}

export interface EvidenceFile {
  name: string;
  mediaType: 'text/plain' | 'image/jpeg';
  bytes: Bytes;
}

/** `payload`: canonical JSON, the bytes to show and to sign. `disclosures`: stay in the browser. */
export interface BuiltObjection {
  payload: string;
  disclosures: Disclosures;
  evidence: EvidenceFile[];
}

/** Builds what will be signed at `nowS`. The same facts, choices and time give the same bytes. */
export async function buildObjection(facts: Facts, choices: Choices, nowS: number): Promise<BuiltObjection> {
  const evidence = evidenceFiles(facts, choices);
  const { digests, disclosures } = await commitSlots(facts, choices);
  const receipt: ObjectionReceipt = {
    jti: facts.jti,
    iat: nowS,
    kind: 'objection',
    controller: 'meta-platforms-ireland',
    platform: facts.notice?.platform ?? choices.platform,
    notice: facts.notice ? await seenNotice(facts.notice) : { channel: 'none' },
    objection: {
      right: 'eu-gdpr:A21',
      contested_basis: 'eu-gdpr:A6-1-f',
      data_categories: DATA_CATEGORIES.filter((category) => choices.dataCategories.includes(category)),
      statement: { template: STATEMENT_TEMPLATE, language: choices.statementLanguage },
    },
    country: choices.country,
    ...(choices.campaign ? { campaign: choices.campaign } : {}),
    evidence: await Promise.all(
      evidence.map(async ({ name, mediaType, bytes }) => ({
        name,
        media_type: mediaType,
        size: bytes.length,
        sha256: await sha256Hex(bytes),
      })),
    ),
    self_asserted: {
      account: { _sd: [digests.account] },
      contact: { _sd: [digests.contact] },
      person: { _sd: [digests.person] },
    },
  };
  return { payload: formatJson(receipt as unknown as Json), disclosures, evidence };
}

function evidenceFiles({ notice, screenshot }: Facts, { sendNoticeText, sendScreenshot }: Choices): EvidenceFile[] {
  const files: EvidenceFile[] = [];
  if (notice && sendNoticeText)
    files.push({ name: NOTICE_TEXT_FILE, mediaType: 'text/plain', bytes: utf8(notice.text) });
  if (screenshot && sendScreenshot) files.push({ name: SCREENSHOT_FILE, mediaType: 'image/jpeg', bytes: screenshot });
  return files;
}

async function seenNotice({ channel, language, rule, ruleset, url, text }: Notice): Promise<SeenNotice> {
  return { channel, language, rule, ruleset, url, text_sha256: await sha256Hex(utf8(text)) };
}

// Always three digests: a slot left empty holds a decoy, so that nobody sees whether something was declared.
async function commitSlots({ slots }: Facts, { declared }: Choices) {
  const digests: Record<Slot, string> = { account: '', contact: '', person: '' };
  const disclosures: Disclosures = {};
  for (const slot of SLOTS) {
    const value = declared[slot]?.trim();
    if (value) disclosures[slot] = formatDisclosure(slots[slot].salt, slot, value);
    digests[slot] = disclosures[slot] ? await disclosureDigest(disclosures[slot]) : slots[slot].decoy;
  }
  return { digests, disclosures };
}

/** The country to offer first: the region of the first browser language that names one of ours. */
export function guessCountry(languages: readonly string[]): Country {
  const regions = languages.map((language) => /-([A-Z]{2})(?:-|$)/.exec(language)?.[1]);
  return COUNTRIES.find((country) => country === regions.find((region) => region && isCountry(region))) ?? 'ZZ';
}

/** The statement language to offer first: the first of the browser's languages that has a statement, else English. */
export function guessStatementLanguage(languages: readonly string[]): string {
  return languages.map((language) => language.slice(0, 2)).find((code) => Object.hasOwn(STATEMENTS, code)) ?? 'en';
}

function isCountry(text: string): text is Country {
  return (COUNTRIES as string[]).includes(text);
}

/** True when the register would accept this notice; what comes from a page is not believed unseen. */
export function isNotice(value: unknown): value is Notice {
  if (typeof value !== 'object' || value === null) return false;
  const { platform, channel, language, rule, ruleset, url, text, ...others } = value as Record<string, unknown>;
  const texts = { language, rule, ruleset, url };
  return (
    Object.keys(others).length === 0 &&
    NOTICE_PLATFORMS.includes(platform as NoticePlatform) &&
    seenNoticeFields.channel.enum.includes(channel as string) &&
    Object.entries(texts).every(([name, one]) => fits(one, seenNoticeFields[name as keyof typeof texts])) &&
    sanitiseUrl(String(url)) === url &&
    typeof text === 'string' &&
    text.length > 0 &&
    text.length <= MAX_NOTICE_CHARACTERS
  );
}

const NOTICE_PLATFORMS: NoticePlatform[] = ['facebook', 'instagram', 'threads'];
const MAX_NOTICE_CHARACTERS = 100_000;
const seenNoticeFields = components.schemas.SeenNotice.properties;

function fits(value: unknown, { pattern, maxLength = 512 }: { pattern: string; maxLength?: number }): boolean {
  return typeof value === 'string' && value.length <= maxLength && new RegExp(pattern, 'u').test(value);
}
