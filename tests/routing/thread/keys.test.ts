import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { EMPTY_VIEW, type Part, type View } from '../../../src/message/view.js';
import { threadContent } from '../../../src/routing/thread/content.js';
import { keyedKeys, mailKeys, ThreadHashes } from '../../../src/routing/thread/keys.js';
import { message } from '../messages.js';

const hashes = new ThreadHashes(Buffer.alloc(32, 1), 1);
const SOURCE = 3;

function mail(view: Partial<View>) {
  return mailKeys(hashes, message({ kind: 'mail', account: 'anna', view: { ...EMPTY_VIEW, ...view } }), SOURCE, true);
}

function ids(...named: string[]): string[] {
  return named.map((id) => hashes.of('id', id));
}

it('hash a text in one way, however long it is', () => {
  for (const length of [0, 999, 1_000, 1_001, 50_000]) {
    const text = 'é'.repeat(length);
    const said = Buffer.concat([Buffer.alloc(32, 1), Buffer.from(`thread 1 text ${text}`)]);
    expect(hashes.of('text', text)).toBe(createHash('sha256').update(said).digest('hex').slice(0, 32));
  }
});

describe('what joins a mail with others', () => {
  it('is its own id, those it answers, and its references from the last', () => {
    const keys = mail({ messageId: '<me>', inReplyTo: ['<b>'], references: ['<a>', '<b>', '<c>'] });
    expect(keys?.references).toEqual(ids('<me>', '<b>', '<c>', '<a>'));
    expect(keys?.party).toBe(hashes.of('party', `${SOURCE} anna`));
  });

  it('is nothing where it names none', () => {
    expect(mail({})).toBeNull();
    expect(mail({ messageId: '<>', inReplyTo: ['<>'] })).toBeNull();
    expect(mail({ references: ['<a>'] })).toMatchObject({ references: ids('<a>') });
  });

  it('is fifty ids at most, of References the last', () => {
    const references = Array.from({ length: 1_000 }, (_, i) => `<${i}>`);
    const keys = mail({ messageId: '<me>', inReplyTo: references.slice(500, 600), references });
    expect(keys?.references).toHaveLength(50);
    expect(keys?.references.slice(0, 12)).toEqual(ids('<me>', ...references.slice(500, 510), '<999>'));
  });
});

describe('what joins an event with others of its source', () => {
  const event = message({
    kind: 'event',
    account: 'anna',
    envelope: { subject: 'x', orderid: 7 },
    view: { ...EMPTY_VIEW, data: { order: 7, deep: { list: ['a'] }, none: null } },
  });
  it.each([
    ['account', 'anna'],
    ['/data/order', '7'],
    ['/orderid', '7'],
    ['/subject', 'x'],
    ['/data/deep/list/0', 'a'],
  ])('is what stands at %s', (key, value) => {
    expect(keyedKeys(hashes, event, SOURCE, key)).toMatchObject({
      references: [hashes.of('key', `${SOURCE} ${value}`)],
      party: hashes.of('party', String(SOURCE)),
    });
  });

  it.each(['/data/none', '/data/deep', '/data/missing', '/order'])(
    'is nothing where %s leads to no text or number',
    (key) => {
      expect(keyedKeys(hashes, event, SOURCE, key)).toBeNull();
    },
  );

  it('is looked for in the body of what is no event, and is each source’s and tenant’s own', () => {
    const hook = message({ kind: 'webhook', view: { ...EMPTY_VIEW, data: { order: 7 } } });
    const here = keyedKeys(hashes, hook, SOURCE, '/order')?.references;
    expect(here).toEqual(keyedKeys(hashes, event, SOURCE, '/data/order')?.references);
    expect(keyedKeys(hashes, hook, SOURCE + 1, '/order')?.references).not.toEqual(here);
    expect(keyedKeys(new ThreadHashes(Buffer.alloc(32, 1), 2), hook, SOURCE, '/order')?.references).not.toEqual(here);
    expect(keyedKeys(new ThreadHashes(Buffer.alloc(32, 2), 1), hook, SOURCE, '/order')?.references).not.toEqual(here);
  });
});

describe('what is kept of a message', () => {
  const content = (view: Partial<View>, found: Parameters<typeof threadContent>[2] = null) =>
    threadContent(hashes, message({ kind: 'mail', view: { ...EMPTY_VIEW, ...view } }), found);
  const amount = (value: string) => ({ type: 'amount', value, written: value, where: 'text' });

  it('is the same for the same values of a type in whatever order, and other for others', () => {
    const one = content({}, [amount('1'), amount('2')])?.fields;
    expect(content({}, [amount('2'), amount('1')])?.fields).toEqual(one);
    expect(content({}, [amount('1')])?.fields).not.toEqual(one);
    expect(content({}, [amount('1'), { ...amount('2'), currency: 'EUR' }])?.fields).not.toEqual(one);
    expect(content({}, [])?.fields).toEqual({});
    expect(content({})?.fields).toBeNull();
  });

  it('is nothing where not all of it was read', () => {
    expect(content({ unread: ['text'] })).toBeNull();
    expect(content({ unread: ['headers'] })).not.toBeNull();
  });

  it('has a hash of each attachment, and none of a picture in the text', () => {
    const part = (sha256: string, inline: boolean): Part => ({
      ...{ n: 1, path: '1', name: null, type: 'image/png', size: 1, contentId: null },
      sha256,
      inline,
    });
    expect(content({ parts: [part('a', false), part('b', true)] })?.parts).toEqual([hashes.of('part', 'a')]);
    expect(content({ parts: Array.from({ length: 101 }, (_, i) => part(String(i), false)) })).toBeNull();
  });

  it('is the same of a text whatever it quotes, but not where it does nothing else, nor with other HTML', () => {
    const text = (one: string) => content({ text: one })?.text;
    expect(text('Yes.\n> One?')).toBe(text('Yes.\n> Two?'));
    expect(text('> One?')).not.toBe(text('> Two?'));
    const html = (one: string | null) => content({ text: 'See the HTML', html: one })?.html;
    expect(html('<p>One</p>')).not.toBe(html('<p>Two</p>'));
    expect(html(null)).toBeNull();
  });

  it('of an event is that of its data, whatever the order of its members', () => {
    const of = (data: unknown) =>
      threadContent(hashes, message({ kind: 'event', view: { ...EMPTY_VIEW, data } }), null)?.text;
    expect(of({ a: 1, b: 2 })).toBe(of({ b: 2, a: 1 }));
    expect(of({ a: 1 })).not.toBe(of({ a: 2 }));
  });
});
