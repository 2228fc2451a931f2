/** What it costs to refuse something grows with what a format allows, never with what was sent. */
import { describe, expect, it } from 'vitest';
import { components } from '../../../schemas/openapi.json';
import { type Json, parseJson, utf8 } from '../../src/core/encoding';
import { ObjectionError } from '../../src/core/errors';
import { parseJws } from '../../src/core/jws';
import { MANIFEST, verifyManifest } from '../../src/core/manifest';
import { FieldError, verifyFields } from '../../src/core/schema';

type Name = Parameters<typeof verifyFields>[0];
interface Part {
  type?: string;
  maxItems?: number;
  items?: Part;
  properties?: Record<string, Part>;
}

const schemas = components.schemas as unknown as Record<string, Part>;
// Found by reflection, so that a new list is measured by itself.
const lists = Object.entries(schemas).flatMap(([schema, { properties = {} }]) =>
  Object.entries(properties)
    .filter(([, { type }]) => type === 'array')
    .map(([member, { maxItems }]) => ({ schema, member, maxItems })),
);

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof ObjectionError) return error.code;
    throw error;
  }
  return 'valid';
}

describe('the lists of the contract', () => {
  it('are found', () =>
    expect(lists.map(({ schema, member }) => `${schema}.${member}`)).toContain('Policy.issuer_keys'));

  it.each(lists)(
    '$schema.$member has a maximum, and nothing beyond it is looked at',
    ({ schema, member, maxItems }) => {
      expect(maxItems).toBeGreaterThan(0);
      let judged = 0;
      const items = new Proxy(new Array(10 * (maxItems ?? 0)).fill({}), {
        get: (target, name) => {
          judged += /^[0-9]+$/.test(String(name)) ? 1 : 0;
          return Reflect.get(target, name);
        },
      });
      expect(() => verifyFields(schema as Name, { [member]: items as Json })).toThrow(FieldError);
      expect(judged).toBe(0);
    },
  );
});

describe.each(Object.keys(schemas).filter((name) => schemas[name]?.properties))('%s', (schema) => {
  it('words twenty problems at most, of whatever an object holds', () => {
    const crowd = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`x${i}`, i]));
    const few = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`x${i}`, i]));
    for (const value of [crowd, few]) {
      try {
        verifyFields(schema as Name, value);
        expect.fail('it was accepted');
      } catch (error) {
        expect(error).toBeInstanceOf(FieldError);
        expect((error as FieldError).problems.length).toBeLessThanOrEqual(20);
      }
    }
  });
});

describe('documents', () => {
  const large = utf8(`{"a":[${'0,'.repeat(2_000_000)}0]}`);

  it('are bounded before any of them is parsed', async () => {
    expect(codeOf(() => parseJson(large))).toBe('json_malformed');
    expect(codeOf(() => parseJws('e'.repeat(65_537), 'x', []))).toBe('jws_malformed');
    const files = new Map([[MANIFEST, utf8(`{"files":[${'{},'.repeat(50_000)}{}]}`)]]);
    await expect(verifyManifest(files)).rejects.toMatchObject({ code: 'bundle_malformed', message: /131072 bytes/ });
  });
});
