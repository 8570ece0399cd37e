import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import { featuresOf, TEXT_LOOKED_AT, wordsOf } from '../../../src/routing/learning/features.js';
import { spentMs } from '../../support/spent.js';
import { mail, message, withData } from '../messages.js';

describe('featuresOf', () => {
  it('takes sender, domain, subject, text, defects and parts of a mail', () => {
    const features = featuresOf(
      mail({
        from: [{ name: 'Anna', address: 'Anna@Mail.Shop.Example' }],
        subject: 'Your INVOICE 2026, no. 4711004711',
        text: 'Please pay the invoice.',
        defects: [{ code: 'charset_unknown', severity: 'note', where: '1', action: 'guessed' }],
        parts: [
          {
            n: 1,
            path: '2',
            name: 'a.pdf',
            type: 'application/PDF',
            size: 9,
            sha256: '',
            inline: false,
            contentId: null,
          },
        ],
      }),
    );
    expect(features).toEqual([
      'kind:mail',
      'source:billing',
      'account:cust-1',
      'from:anna@mail.shop.example',
      'domain:mail.shop.example',
      'domain:shop.example',
      'subject:your',
      'subject:invoice',
      'subject:2026',
      'subject:no',
      'text:please',
      'text:pay',
      'text:the',
      'text:invoice',
      'defect:charset_unknown',
      'part:application/pdf',
    ]);
  });

  it('takes members and words of structured data, through lists, and no numbers', () => {
    const data = {
      order: { country: 'DE', paid: true, total: new LosslessNumber('12.50') },
      items: [{ sku: 'Blue Cup' }],
    };
    expect(
      featuresOf(withData(data))
        .filter((one) => one.startsWith('data:'))
        .sort(),
    ).toEqual([
      'data:items',
      'data:items.sku',
      'data:items.sku=blue',
      'data:items.sku=cup',
      'data:order',
      'data:order.country',
      'data:order.country=de',
      'data:order.paid',
      'data:order.paid=true',
      'data:order.total',
    ]);
  });

  it('never fails, is bounded, and says each thing once, whatever a message holds', () => {
    const address = fc.record({ name: fc.string(), address: fc.string({ unit: 'binary', maxLength: 500 }) });
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withNullPrototype: true, maxDepth: 12 }),
        fc.array(address),
        fc.string({ unit: 'binary', maxLength: 2000 }),
        fc.string({ unit: 'binary' }),
        (data, from, text, account) => {
          const features = featuresOf(message({ account, view: { ...EMPTY_VIEW, data, from, text, subject: text } }));
          expect(new Set(features).size).toBe(features.length);
          expect(features.length).toBeLessThan(500);
          for (const feature of features) expect(feature.length).toBeLessThan(600);
        },
      ),
    );
  });

  it('looks at a bounded piece of hostile data: long lists, deep nesting, long names, many words', () => {
    let deep: unknown = 'end';
    for (let i = 0; i < 100_000; i++) deep = { a: deep };
    const wide = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`${i}`.padEnd(2000, 'x'), 'word']));
    for (const data of [deep, wide, Array.from({ length: 1_000_000 }, () => 'word'), 'a b '.repeat(5_000_000)]) {
      const begun = spentMs();
      expect(featuresOf(withData(data)).length).toBeLessThan(150);
      expect(spentMs() - begun).toBeLessThan(500);
    }
  });

  it('looks at so many characters of all texts in data together', () => {
    const blank = '- '.repeat(TEXT_LOOKED_AT / 4);
    const features = featuresOf(withData({ a: blank, b: 'within', c: blank, d: 'beyond' }));
    expect(features).toEqual(expect.arrayContaining(['data:b=within', 'data:d']));
    expect(features).not.toContain('data:d=beyond');
  });
});

describe('wordsOf', () => {
  it.each([
    ['Größe GRÖSSE ﬁne', ['größe', 'grösse', 'fine']],
    ['in\u00advoice in\u200bvoice', ['invoice']],
    ['東京都 東京', ['東京', '京都']],
    ['a b 12345 2026 x1', ['2026', 'x1']],
    ["it's e-mail", ['it', 'mail']],
  ])('%s', (text, words) => {
    expect([...wordsOf(text, 100)].filter((word) => word.length > 1)).toEqual(words);
  });

  it('is linear in what it looks at, and looks at the beginning alone', () => {
    for (const text of [
      '\u0301'.repeat(5_000_000),
      'a'.repeat(5_000_000),
      'ﷺ'.repeat(5_000_000),
      '\u200b'.repeat(5_000_000),
    ]) {
      const begun = spentMs();
      wordsOf(text, 200);
      expect(spentMs() - begun).toBeLessThan(200);
    }
    expect([...wordsOf(`${'- '.repeat(TEXT_LOOKED_AT)}beyond`, 200)]).toEqual([]);
  });

  it('cuts long words between characters', () => {
    const [word = ''] = wordsOf('𝒳'.repeat(3) + '\u{20000}a'.repeat(40), 1);
    expect(word.isWellFormed()).toBe(true);
  });
});
