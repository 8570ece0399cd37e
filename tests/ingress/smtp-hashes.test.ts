import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { mailContentHash } from '../../src/channel/identity.js';
import { hashesOf } from '../../src/ingress/smtp/hashes.js';

const HEAD = 'Received: from a\r\n by b\r\nSubject: hi\r\nDelivered-To: anna@example.com\r\n\r\n';

it.each([10, 2_100_000, 7_000_001])(
  'a mail of %d bytes has the same hashes whether they are made at once or in turns',
  async (bytes) => {
    const raw = Buffer.concat([Buffer.from(HEAD), Buffer.alloc(bytes, 'some text\r\n')]);
    const { contentHash, sha256 } = await hashesOf(raw);
    expect(Buffer.from(contentHash)).toEqual(Buffer.from(mailContentHash(raw)));
    if (sha256 !== null) expect(sha256).toBe(createHash('sha256').update(raw).digest('binary'));
    expect(sha256 === null).toBe(bytes < 2_000_000);
  },
);

it('a mail without trace fields is hashed once', async () => {
  const raw = Buffer.from('Subject: hi\r\n\r\ntext');
  const sha = createHash('sha256').update(raw);
  const known = await hashesOf(raw);
  expect(Buffer.from(known.contentHash)).toEqual(sha.copy().digest());
  expect(known.sha256).toBe(sha.digest('binary'));
});
