import { once } from 'node:events';
import { connect as connectTo, createServer } from 'node:net';
import { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import type { ChannelModel } from 'amqplib';
import { expect, onTestFinished, test } from 'vitest';
import { gatherWrites } from '../../src/broker/gather.js';

const modelOf = (stream: Writable) => ({ connection: { stream } }) as unknown as ChannelModel;

test('what is written in one turn goes out in one piece, in order, and what comes later in the next', async () => {
  const pieces: string[][] = [];
  const stream = new Writable({
    write(chunk, _, done) {
      pieces.push([String(chunk)]);
      done();
    },
    writev(chunks, done) {
      pieces.push(chunks.map(({ chunk }) => String(chunk)));
      done();
    },
  });
  gatherWrites(modelOf(stream));
  for (const text of ['a', 'b', 'c']) stream.write(text);
  expect(pieces).toEqual([]);
  await turn();
  stream.write('d');
  stream.write('e');
  await turn();
  expect(pieces).toEqual([
    ['a', 'b', 'c'],
    ['d', 'e'],
  ]);
});

test('a socket that ends in the same turn has written everything', async () => {
  let got = '';
  const server = createServer((socket) => {
    socket.on('data', (chunk) => {
      got += chunk;
    });
  });
  onTestFinished(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connectTo((server.address() as { port: number }).port, '127.0.0.1');
  await once(socket, 'connect');
  gatherWrites(modelOf(socket));
  const written: unknown[] = [];
  socket.write('one ', (error) => written.push(error ?? 'written'));
  socket.end('two');
  await once(socket, 'close');
  expect(got).toBe('one two');
  expect(written).toEqual(['written']);
});
