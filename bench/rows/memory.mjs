import { Agent } from 'node:http';
import { connect } from '../consumer.mjs';
import { batch, post } from '../events.mjs';
import { atMost, perSecond, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';
import { consumerOf } from './end-to-end.mjs';

const PER_REQUEST = 1000;
const ABREAST = 8;
/** The first part is left out of the slope: buffers and filters find their size. */
const WARM_UP = 0.2;
/** Below this the machine's noise is more than any slope the goal speaks of. */
const SLOPE_MINUTES = 5;

/** What the Node process holds while it takes all that it can and carries it on; looked at once a second. */
export async function run({ minutes }) {
  const stack = await startStack({ rabbitmq: true });
  const connection = await connect(stack.amqp);
  try {
    await consumerOf(stack, connection);
    const samples = [];
    const begun = performance.now();
    const sampling = setInterval(() => {
      samples.push({ minute: (performance.now() - begun) / 60_000, mb: stack.rssMB() });
    }, 1000);
    const events = await load(stack, minutes * 60_000);
    clearInterval(sampling);
    const took = performance.now() - begun;
    const most = Math.max(...samples.map(({ mb }) => mb));
    const slope = slopeOf(samples.filter(({ minute }) => minute > minutes * WARM_UP));
    return {
      row: `memory of the Node process at the batch rate, ${minutes} min`,
      unit: 'MB at most',
      figure: most,
      goals: [
        atMost('MB', most, 400),
        // Over ten minutes less than a tenth of what it may hold.
        ...(minutes >= SLOPE_MINUTES ? [atMost('MB a minute', slope, 4)] : []),
      ],
      also: { slopeMBPerMinute: tenths(slope), eventsPerSecond: Math.round(perSecond(events, took)) },
      samples: samples.map(({ mb }) => Math.round(mb)),
    };
  } finally {
    await connection.close();
    await stack.stop();
  }
}

async function load(stack, ms) {
  const agent = new Agent({ keepAlive: true, maxSockets: ABREAST });
  const end = performance.now() + ms;
  let events = 0;
  async function worker() {
    while (performance.now() < end) {
      await post(`${stack.http}/v1/events`, agent, batch(PER_REQUEST), 'application/x-ndjson');
      events += PER_REQUEST;
    }
  }
  await Promise.all(Array.from({ length: ABREAST }, worker));
  agent.destroy();
  return events;
}

/** By least squares, in MB a minute. */
function slopeOf(samples) {
  const mean = (values) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const x = mean(samples.map(({ minute }) => minute));
  const y = mean(samples.map(({ mb }) => mb));
  const over = samples.reduce((sum, { minute, mb }) => sum + (minute - x) * (mb - y), 0);
  return over / samples.reduce((sum, { minute }) => sum + (minute - x) ** 2, 0);
}
