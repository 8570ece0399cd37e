import { expect, it } from 'vitest';
import { wordsOfView } from '../../src/message/searched.js';
import { EMPTY_VIEW } from '../../src/message/view.js';

it('finds a view by its subject, people, names of parts and text', () => {
  const part = { n: 1, path: '2', type: 'application/pdf', size: 1, sha256: '', inline: false, contentId: null };
  const view = {
    ...EMPTY_VIEW,
    subject: 'Größe',
    from: [{ name: 'Anna', address: 'anna@sender.example' }],
    cc: [{ name: '', address: 'b@c' }],
    parts: [
      { ...part, name: 'Rechnung_7.pdf' },
      { ...part, name: null },
    ],
    text: 'grosse x',
    html: '<b>unseen</b>',
  };
  expect(wordsOfView(view)).toBe('grosse anna sender example b c rechnung 7 pdf x');
  expect(wordsOfView(EMPTY_VIEW)).toBe('');
});
