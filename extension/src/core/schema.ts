/**
 * The register's own field rules (schemas/openapi.json), applied to parsed JSON. Only the JSON Schema words used there
 * are known; any other word stops the extension at its first use rather than being skipped in silence.
 */
import { components } from '../../../schemas/openapi.json';
import type * as contract from './contract.gen';
import type { Json, JsonObject } from './encoding';
import { ObjectionError } from './errors';

type Contract = {
  ObjectionReceipt: contract.ObjectionReceipt;
  SupplementReceipt: contract.SupplementReceipt;
  WithdrawalReceipt: contract.WithdrawalReceipt;
  ErasureReceipt: contract.ErasureReceipt;
  SubmissionAnswer: contract.SubmissionAnswer;
  AcknowledgementClaims: contract.AcknowledgementClaims;
  TokenClaims: contract.TokenClaims;
  StatusListClaims: contract.StatusListClaims;
  Policy: contract.Policy;
  Campaigns: contract.Campaigns;
  WorkChallenge: contract.WorkChallenge;
  Problem: contract.Problem;
};

interface Schema {
  $ref?: string;
  oneOf?: Schema[];
  allOf?: Schema[];
  type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  const?: Json;
  enum?: Json[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | object;
  description?: string;
  title?: string;
}

const KNOWN = new Set(
  (
    '$ref oneOf allOf type const enum pattern minLength maxLength minimum maximum items minItems maxItems uniqueItems ' +
    'properties required additionalProperties description title'
  ).split(' '),
);
/** Unknown members of an object that are named one by one; more are counted. */
const MAX_STRANGERS = 16;
const MAX_PROBLEMS = 20;
const schemas = components.schemas as unknown as Record<string, Schema>;

export interface FieldProblem {
  field: string;
  problem: string;
}

/** The JSON is strict, but its fields are not what the contract says; `problems` names each. */
export class FieldError extends ObjectionError {
  constructor(
    readonly problems: FieldProblem[],
    code = 'field_invalid',
  ) {
    super(code, problems.map(({ field, problem }) => `${field || '(top)'}: ${problem}`).join('; '));
  }
}

/** Returns `value` as the named type of the contract. Throws FieldError, with `code` when another one says it better. */
export function verifyFields<N extends keyof Contract>(name: N, value: Json, code = 'field_invalid'): Contract[N] {
  const problems: FieldProblem[] = [];
  for (const problem of problemsOf(schemaNamed(name), value, '')) {
    if (problems.push(problem) === MAX_PROBLEMS) break;
  }
  if (problems.length > 0) throw new FieldError(problems, code);
  return value as unknown as Contract[N];
}

/** The values that the contract allows in one member, in its order: `allowed('ObjectionReceipt', 'country')`. */
export function allowedValues(name: string, member: string): string[] {
  const schema = schemaNamed(name).properties?.[member];
  const values = schema?.enum ?? schema?.items?.enum;
  if (!values) throw new Error(`${name}.${member} has no list of values in the contract`);
  return values.map(String);
}

function schemaNamed(name: string): Schema {
  const schema = schemas[name];
  if (!schema) throw new Error(`the contract has no ${name}`);
  return schema;
}

function* problemsOf(schema: Schema, value: Json, field: string): Generator<FieldProblem> {
  for (const word of Object.keys(schema)) if (!KNOWN.has(word)) throw new Error(`unknown JSON Schema word: ${word}`);
  if (schema.$ref) {
    yield* problemsOf(schemaNamed(schema.$ref.replace('#/components/schemas/', '')), value, field);
  }
  for (const part of schema.allOf ?? []) yield* problemsOf(part, value, field);
  if (schema.oneOf && schema.oneOf.filter((one) => problemsOf(one, value, field).next().done).length !== 1) {
    yield { field, problem: 'must be exactly one of its variants' };
  }
  if (schema.const !== undefined && value !== schema.const) yield { field, problem: `must be ${schema.const}` };
  if (schema.enum && !schema.enum.includes(value)) yield { field, problem: 'must be one of the allowed values' };
  if (schema.type === 'string') yield* stringProblems(schema, value, field);
  else if (schema.type === 'integer') yield* integerProblems(schema, value, field);
  else if (schema.type === 'array') yield* arrayProblems(schema, value, field);
  else if (schema.type === 'object') yield* objectProblems(schema, value, field);
  else if (schema.type === 'boolean' && typeof value !== 'boolean') yield { field, problem: 'must be true or false' };
}

function* stringProblems(schema: Schema, value: Json, field: string): Generator<FieldProblem> {
  if (typeof value !== 'string') return yield { field, problem: 'must be a string' };
  const length = Array.from(value).length;
  if (length < (schema.minLength ?? 0)) yield { field, problem: 'too short' };
  if (length > (schema.maxLength ?? Number.POSITIVE_INFINITY)) yield { field, problem: 'too long' };
  if (schema.pattern && !new RegExp(schema.pattern, 'u').test(value))
    yield { field, problem: 'has not the right form' };
}

function* integerProblems(schema: Schema, value: Json, field: string): Generator<FieldProblem> {
  if (typeof value !== 'number' || !Number.isInteger(value)) return yield { field, problem: 'must be an integer' };
  if (value < (schema.minimum ?? Number.NEGATIVE_INFINITY)) yield { field, problem: 'too small' };
  if (value > (schema.maximum ?? Number.POSITIVE_INFINITY)) yield { field, problem: 'too large' };
}

function* arrayProblems(schema: Schema, value: Json, field: string): Generator<FieldProblem> {
  if (!Array.isArray(value)) return yield { field, problem: 'must be a list' };
  if (value.length < (schema.minItems ?? 0)) yield { field, problem: 'has too few items' };
  // Counted before any of them is judged: to word what is wrong with thousands of them is costly.
  if (value.length > (schema.maxItems ?? Number.POSITIVE_INFINITY)) {
    return yield { field, problem: 'has too many items' };
  }
  if (schema.uniqueItems && new Set(value.map((item) => JSON.stringify(item))).size !== value.length) {
    yield { field, problem: 'items must not repeat' };
  }
  if (schema.items) for (const [i, item] of value.entries()) yield* problemsOf(schema.items, item, `${field}.${i}`);
}

function* objectProblems(schema: Schema, value: Json, field: string): Generator<FieldProblem> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return yield { field, problem: 'must be an object' };
  }
  const inner = (name: string) => (field ? `${field}.${name}` : name);
  const properties = schema.properties ?? {};
  const most = Object.keys(properties).length + MAX_STRANGERS;
  if (schema.additionalProperties === false && Object.keys(value).length > most) {
    return yield { field, problem: 'has too many members' };
  }
  for (const name of schema.required ?? []) {
    if (!Object.hasOwn(value, name)) yield { field: inner(name), problem: 'is missing' };
  }
  for (const [name, member] of Object.entries(value as JsonObject)) {
    const known = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (known) yield* problemsOf(known, member, inner(name));
    else if (schema.additionalProperties === false) yield { field: inner(name), problem: 'is unknown' };
  }
}
