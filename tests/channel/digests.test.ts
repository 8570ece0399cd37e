import { expect, it } from 'vitest';
import { type EventContent, eventDigest } from '../../src/channel/identity.js';
import { readJson } from '../../src/content/json/read.js';

/*
 * Digests are kept for the whole window and compared with those of later versions: what was once made of a content is made
 * of it for ever. These were made by the first version, and nothing here is worked out.
 */

const USUAL = { type: 'usage.recorded', subject: 'customer-1', time: '2026-01-02T03:04:05.000000Z' };

function read(text: string): EventContent['data'] {
  const bytes = Buffer.from(text);
  const result = readJson(bytes, 0, bytes.length);
  if (!result.ok) throw new Error(result.code);
  return { form: 'json', value: result.json.value };
}

const manyKeys = Array.from({ length: 20 }, (_, i) => `"k${(i * 7) % 20}":${i}`).join();

it.each<[what: string, content: EventContent, digest: string]>([
  ['no data', { ...USUAL, data: { form: 'none' } }, 'dd5d13e080d01a82c592c7ff53b81503'],
  [
    'bytes',
    { ...USUAL, data: { form: 'bytes', bytes: Buffer.from([0, 255, 10]) } },
    '5749db528b03b90a746411b2c341fe95',
  ],
  ['nothing', { type: 't', subject: null, time: null, data: read('null') }, '04f1c5530ccef1ea55118b67ace4d0c6'],
  [
    'members out of order',
    { ...USUAL, data: read('{"b":1,"a":{"d":[1,2,{"z":null}],"c":"x"}}') },
    'be03e65015fbfb807093700263f17877',
  ],
  [
    'digits',
    { ...USUAL, data: read('{"amount":12.50,"big":12345678901234567890,"e":1e2}') },
    '387efa2805161960ff48cbc20d9a525b',
  ],
  ['surrogates', { ...USUAL, data: read('"\\ud800 lone, \\ud83d\\ude00 pair"') }, 'a5135cca91b3bb6c347858c7fcbad966'],
  [
    'unusual characters',
    { ...USUAL, data: read('"\u007f\u2028\u2029\u0080\u00e9\u20ac"') },
    '0cbca7d869201ca46a46c359a515b7a5',
  ],
  ['escapes', { ...USUAL, data: read('"\\u0000\\u0001\\b\\t\\n\\f\\r\\"\\\\/"') }, 'd1817f5e24b5112f3e3c432e4378764c'],
  ['63 characters', { ...USUAL, data: read(`"${'x'.repeat(63)}"`) }, 'd23bd44d9bf86f8c0b33cc136cddbd9f'],
  ['64 characters', { ...USUAL, data: read(`"${'x'.repeat(64)}"`) }, 'adda10a073f725c754e12b69c6058690'],
  ['65 characters', { ...USUAL, data: read(`"${'x'.repeat(65)}"`) }, '34ae3c8945e2df5d23b9a9061a3dfbb3'],
  ['a long text', { ...USUAL, data: read(JSON.stringify('é"'.repeat(40_000))) }, '1ec591b9449bbd73f54a8074fec6eb00'],
  ['many members', { ...USUAL, data: read(`{${manyKeys}}`) }, 'c5bdd6856d89aab7302ee8a1f24add99'],
  [
    'hostile names',
    { ...USUAL, data: read('{"__proto__":{"x":1},"toString":2,"10":1,"9":2}') },
    'f06093f7bf36a12f7c7f8f3ab798169a',
  ],
  [
    'other scripts',
    { type: 'é', subject: 'ü"\\', time: null, data: read('{"ключ":"значение","日本":1}') },
    'd3b68ad63401ca09deb2076c6f9c6042',
  ],
  ['empty ones', { ...USUAL, data: read('{"a":{},"b":[],"c":""}') }, '129623d830b4e1967e25f62ac3b9bc48'],
])('the digest of %s is what it always was', (_, content, digest) => {
  expect(Buffer.from(eventDigest(content), 'latin1').toString('hex')).toBe(digest);
});
