import { expect, test } from 'vitest';
import { keyWords } from '../../src/channel/key-words.js';
import { sourceDefinitionSchema } from '../../src/channel/source.js';

const webhook = (more: object) =>
  sourceDefinitionSchema.parse({ kind: 'webhook', verify: { scheme: 'none' }, ...more });
const queue = (more: object) => sourceDefinitionSchema.parse({ kind: 'amqp', queue: 'orders', ...more });
const secrets = ['abcdefgh'];

test.each([
  ['event', 'x-1', { source: '/shop' }, null, 'its CloudEvents source (/shop) and id (x-1)'],
  ['mail', '<1@x>', { to: ['a@x', 'b@x'] }, null, 'its recipients (a@x, b@x) and its bytes without trace fields'],
  [
    'mail',
    null,
    { to: ['1', '2', '3', '4', '5', '6', '7'] },
    null,
    'its recipients (1, 2, 3, 4, 5 and 2 more) and its bytes without trace fields',
  ],
  ['event', 'x-1', {}, null, 'its CloudEvents source and id (x-1)'],
  ['mail', null, {}, null, 'its recipients and its bytes without trace fields'],
  ['webhook', 'd-1', {}, webhook({ verify: { scheme: 'github', secrets } }), 'the header X-GitHub-Delivery (d-1)'],
  ['webhook', 'd-1', {}, webhook({ verify: { scheme: 'standard', secrets } }), 'the header webhook-id (d-1)'],
  ['webhook', 'd-1', {}, webhook({ verify: { scheme: 'stripe', secrets } }), '/id in its body (d-1)'],
  ['webhook', 'd-1', {}, webhook({ identity: { from: 'header', header: 'X-Id' } }), 'the header X-Id (d-1)'],
  ['webhook', 'd-1', {}, webhook({ identity: { from: 'pointer', pointer: '/a' } }), '/a in its body (d-1)'],
  ['webhook', null, {}, webhook({ identity: { from: 'body' } }), 'a hash of its whole body'],
  ['webhook', null, {}, webhook({}), 'nothing: every delivery is new'],
  ['webhook', 'd-1', {}, null, null],
  ['amqp', 'm-1', {}, queue({}), 'its messageId (m-1)'],
  ['amqp', 'm-1', {}, queue({ identity: { from: 'header', header: 'id' } }), 'the header id (m-1)'],
  ['amqp', 'm-1', {}, queue({ identity: { from: 'pointer', pointer: '/id' } }), '/id in its body (m-1)'],
  ['amqp', null, {}, queue({ identity: { from: 'body' } }), 'a hash of its whole body'],
  ['amqp', null, {}, queue({ identity: { from: 'none' } }), 'nothing: every delivery is new'],
  ['amqp', null, {}, null, null],
] as const)('%s %s is told apart by its key', (kind, externalId, envelope, definition, words) => {
  expect(keyWords({ kind, externalId }, envelope, definition)).toBe(words);
});
