import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, consume } from '../consumer.mjs';
import { compared, inTurn } from '../measure.mjs';
import { NODE_RED_QUEUE, startNodeRed } from '../peers/node-red.mjs';
import { startStack } from '../stack.mjs';
import { carry, consumerOf } from './end-to-end.mjs';
import { send } from './single-events.mjs';

/**
 * Beside Node-RED, the same events by the same client to the same consumer on the same broker. Node-RED keeps nothing: it
 * answers before the broker has the message, forgets what it has seen when it ends, and publishes without confirms.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: true });
  const directory = mkdtempSync(join(tmpdir(), 'waybill-bench-'));
  const nodeRed = await startNodeRed({ directory, amqp: stack.amqp });
  const connection = await connect(stack.amqp);
  try {
    const ours = await consumerOf(stack, connection);
    let arrived = 0;
    // They carry no number of their own; what would come twice is not told apart.
    const theirs = await consume(connection, NODE_RED_QUEUE, () => arrived++);
    const requests = Math.ceil(40 * scale);
    const batches = compared(
      await inTurn(
        5,
        () => carry([stack], ours, requests),
        () => carry([nodeRed], theirs, requests),
      ),
    );
    const count = Math.ceil(6000 * scale);
    const singles = compared(
      await inTurn(
        5,
        () => send(`${stack.http}/v1/events`, count, []),
        () => send(`${nodeRed.http}/v1/events`, count, []),
      ),
    );
    return [
      {
        row: 'beside Node-RED: 1,000 events a request, end to end',
        unit: 'events/s',
        ...batches,
        limitIs: 'Node-RED 4.1, nothing durable: answers before the broker has it',
      },
      {
        row: 'beside Node-RED: single events until they are answered, 64 connections',
        unit: 'events/s',
        ...singles,
        limitIs: 'Node-RED 4.1, nothing durable: answers before the broker has it',
      },
    ];
  } finally {
    await nodeRed.stop();
    await connection.close();
    await stack.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}
