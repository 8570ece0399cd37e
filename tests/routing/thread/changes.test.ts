import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeOf, compared } from '../../../src/routing/thread/changes.js';
import type { ThreadContent } from '../../../src/routing/thread/content.js';

const value = fc.constantFrom('a', 'b', 'c');
const fields = fc.dictionary(fc.constantFrom('amount', 'date', 'name', 'phone'), value);
/** Of a source that looks for data. */
const looked = fc.record({ fields, text: value, html: fc.option(value), parts: fc.constant([] as string[]) });
/** Of one that does not. */
const plain = fc.record({
  ...{ fields: fc.constant(null), text: value, html: fc.option(value), parts: fc.constant([] as string[]) },
});
const attached = fc.record({
  ...{
    fields: fc.option(fields),
    text: value,
    html: fc.option(value),
    parts: fc.array(fc.constantFrom('p', 'q', 'r')),
  },
});

/** What a target knows that took each message's part in turn. */
function learn(messages: readonly ThreadContent[]): Record<string, string> {
  const known: Record<string, string> = {};
  messages.forEach((message, i) => {
    const change = changeOf(message, messages.slice(0, i));
    const sent =
      change.send === 'whole' ? Object.keys(message.fields ?? {}) : change.send === 'fields' ? change.fields : [];
    for (const type of sent) known[type] = message.fields?.[type] as string;
  });
  return known;
}

describe('what of a message goes to a target that wants changes', () => {
  it('is all of the first', () => {
    fc.assert(
      fc.property(attached, (one) => {
        expect(changeOf(one, [])).toEqual({ send: 'whole' });
      }),
    );
  });

  it('is nothing of one that says what the one before it said', () => {
    fc.assert(
      fc.property(fc.array(attached), attached, (before, one) => {
        expect(changeOf(one, [...before, one])).toEqual({ send: 'nothing' });
      }),
    );
  });

  it('leaves whoever took only that with the last value of everything that was ever said', () => {
    fc.assert(
      fc.property(fc.array(looked, { minLength: 1 }), (messages) => {
        expect(learn(messages)).toEqual(Object.assign({}, ...messages.map((message) => message.fields)));
      }),
    );
  });

  it('is never a field that the target has, and always one that it has otherwise', () => {
    fc.assert(
      fc.property(fc.array(looked, { minLength: 1 }), looked, (before, now) => {
        const known: Record<string, string> = Object.assign({}, ...before.map((message) => message.fields));
        const change = changeOf(now, before);
        const sent = change.send === 'fields' ? change.fields : [];
        expect(sent).toEqual(
          Object.keys(now.fields)
            .filter((type) => now.fields[type] !== known[type])
            .sort(),
        );
      }),
    );
  });

  it('is all of it where no data was updated and it is said otherwise than right before, in text or HTML', () => {
    fc.assert(
      fc.property(fc.array(looked), looked, value, fc.option(value), (before, last, text, html) => {
        const same = text === last.text && html === last.html;
        expect(changeOf({ ...last, text, html }, [...before, last])).toEqual({ send: same ? 'nothing' : 'whole' });
      }),
    );
    const order = { fields: { amount: 'a' }, text: 'an order', html: null, parts: [] };
    expect(changeOf({ ...order, fields: {}, text: 'please cancel it' }, [order])).toEqual({ send: 'whole' });
  });

  it('is all of it or nothing where nobody looks for data, by the text right before it', () => {
    fc.assert(
      fc.property(fc.array(plain, { minLength: 1 }), plain, (before, now) => {
        const same = before.at(-1)?.text === now.text && before.at(-1)?.html === now.html;
        expect(changeOf(now, before)).toEqual({ send: same ? 'nothing' : 'whole' });
      }),
    );
  });

  it('is all of it with a new attachment, and where something could not be read whole', () => {
    const one = { fields: { amount: 'a' }, text: 'x', html: null, parts: ['p'] };
    expect(changeOf({ ...one, parts: ['p', 'q'] }, [one])).toEqual({ send: 'whole' });
    expect(changeOf({ ...one, parts: [] }, [one])).toEqual({ send: 'nothing' });
    expect(changeOf(null, [one])).toEqual({ send: 'whole' });
    expect(changeOf(one, [null])).toEqual({ send: 'whole' });
    expect(changeOf(one, [one, null])).toEqual({ send: 'nothing' });
  });
});

it('two messages beside each other', () => {
  const before = { fields: { amount: 'a', date: 'd' }, text: 'x', html: null, parts: ['p'] };
  const now = { fields: { amount: 'b', date: 'd', name: 'n' }, text: 'x', html: null, parts: ['p', 'q', 'r'] };
  expect(compared(now, before)).toEqual({
    fields: [
      { type: 'amount', change: 'updated' },
      { type: 'date', change: 'same' },
      { type: 'name', change: 'new' },
    ],
    text: 'same',
    newParts: 2,
  });
  expect(compared({ ...now, fields: null, text: 'y' }, before)).toMatchObject({ fields: null, text: 'other' });
  expect(compared({ ...now, html: 'h' }, before)).toMatchObject({ text: 'other' });
  expect(compared(now, null)).toBeNull();
});
