import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { start, Wire } from './smtp-harness.js';

/** Real mail kept beside the project, as raw bytes. Not part of it: without the folder the tests are skipped. */
const CORPUS = process.env.WAYBILL_MAIL_CORPUS ?? new URL('../../../shared/corpus/mail', import.meta.url).pathname;
const SAMPLES = 20;

function sample(): string[] {
  let files: string[];
  try {
    files = readdirSync(CORPUS, { recursive: true, encoding: 'utf8' }).map((name) => join(CORPUS, name));
  } catch {
    return [];
  }
  const mails = files.filter((file) => statSync(file).isFile()).sort();
  const step = Math.max(1, Math.floor(mails.length / SAMPLES));
  return mails.filter((_, i) => i % step === 0).slice(0, SAMPLES);
}

const mails = sample();
const LINE_BREAK = Buffer.from('\r\n');

test.skipIf(mails.length === 0)(`real mails are taken byte for byte (skipped without ${CORPUS})`, async () => {
  expect(mails).toHaveLength(SAMPLES);
  const { port, calls } = await start({ maxMessageBytes: 30_000_000 });
  const wire = await Wire.greeted(port);
  for (const file of mails) {
    const raw = readFileSync(file);
    // SMTP has no mail without a line break at its end: one that lacks it gains it.
    const ended = raw.subarray(-2).equals(LINE_BREAK) ? raw : Buffer.concat([raw, LINE_BREAK]);
    await wire.envelope('a@example.net', 'one@example.com', 'two@example.com');
    expect(await wire.body(ended), file).toMatch(/^250 2\.0\.0 Ok: queued as 7-\d+, 7-\d+$/);
    const arrivals = calls.at(-1) ?? [];
    expect(arrivals.map((arrival) => arrival.account)).toEqual(['one@example.com', 'two@example.com']);
    expect(Buffer.compare(Buffer.from(arrivals[0]?.raw ?? []), ended), file).toBe(0);
    expect(Buffer.compare(Buffer.from(arrivals[1]?.raw ?? []), ended), file).toBe(0);
  }
  expect(new Set(calls.flat().map((arrival) => Buffer.from(arrival.identity).toString('hex'))).size).toBe(2 * SAMPLES);
});
