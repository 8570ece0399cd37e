import { JsonBytes } from '../../src/content/json/bytes.js';

/** The canonical text of a JSON value as it was read. */
export function canonicalJson(value: unknown): string {
  return new JsonBytes().begin().canonical(value).copy().toString();
}
