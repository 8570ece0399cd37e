import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRabbitmq } from '../../bin/rabbitmq.mjs';
import { batch, event, lines, post } from '../events.mjs';
import { atMost, median, tenths, until } from '../measure.mjs';
import { checkGrowth, filtersReady, prepared } from '../prepared.mjs';
import { startStack, startWaybill, writeConfig } from '../stack.mjs';

const MESSAGES = 10_000_000;
const ROUNDS = 3;
const SAMPLE_PER_GENERATION = 20;
const LOAD_MS = 5_000;
const ABREAST = 4;

/**
 * 10 million keys in the window. A Waybill with a database of its own is killed (kill -9) while it takes all it can, and
 * started again: seconds from there until a request with old keys of every generation and a new one is answered rightly.
 */
export async function run({ scale, cache }) {
  const dataDir = await prepared(Math.ceil(MESSAGES * scale), { cache });
  const { sample, stored } = await sampleOf(dataDir);
  const directory = mkdtempSync(join(tmpdir(), 'waybill-bench-'));
  writeConfig(directory);
  const rabbitmq = await startRabbitmq({ directory: join(directory, 'rabbitmq'), say: () => undefined });
  const start = () => startWaybill({ directory, data: dataDir, env: { AMQP_URL: rabbitmq.url, DATABASE_URL: '' } });
  let waybill = await start();

  async function again({ cut = () => undefined, forget = () => undefined }) {
    await until(() => filtersReady(waybill), 'the filters', 100);
    await killUnderLoad(waybill, cut);
    forget();
    const begun = performance.now();
    waybill = await start();
    await firstVerdicts(waybill, sample);
    const verdict = (performance.now() - begun) / 1000;
    await until(() => filtersReady(waybill), 'the filters', 50);
    return { verdict, filters: (performance.now() - begun) / 1000 };
  }
  const forgetCache = () => rmSync(join(dataDir, 'filters'), { recursive: true, force: true });
  const cutPower = () => killPostgres(dataDir);
  const ways = {
    cached: {},
    uncached: { forget: forgetCache },
    powerCut: { cut: cutPower, forget: forgetCache },
  };
  const took = { cached: [], uncached: [], powerCut: [] };
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, way] of Object.entries(ways)) took[name].push(await again(way));
    }
    await waybill.stop();
    await settle(dataDir);
  } finally {
    await waybill.kill();
    await rabbitmq.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  const seconds = (name, what) => tenths(median(took[name].map((each) => each[what])));
  const worst = (name) => Math.max(...took[name].map(({ verdict }) => verdict));
  return {
    row: `kill -9 and start with ${(stored / 1e6).toFixed(1)} million keys in the window, until the first right verdict`,
    unit: 's',
    figure: median(took.cached.map(({ verdict }) => verdict)),
    goals: [
      atMost('s with the filter cache, worst', worst('cached'), 15),
      atMost('s without it', worst('uncached'), 15),
      atMost('s with PostgreSQL killed too', worst('powerCut'), 15),
    ],
    also: {
      allFiltersReadyS: seconds('cached', 'filters'),
      withoutCacheS: seconds('uncached', 'filters'),
      afterPowerCutS: seconds('powerCut', 'filters'),
    },
    rounds: took,
  };
}

/**
 * Some messages of every generation, as they came and where they stand. Each is sent again here: were the filled
 * database not as the program writes it, that would say so.
 */
async function sampleOf(dataDir) {
  const stack = await startStack({ rabbitmq: false, roles: 'ingress,web', dataDir });
  try {
    const pool = stack.pool();
    const stored = await checkGrowth(dataDir, pool);
    const { rows: generations } = await pool.query(
      'select id from generation where keys_dropped_at is null order by id',
    );
    const sample = [];
    for (const { id } of generations) {
      const { rows } = await pool.query(
        `select channel, sequence, raw from message m where generation = $1 and tenant = (select id from tenant where name = 'default')
           and external_id like 'filled-%' and (channel, sequence) in (
             select s.channel, s.first_sequence + floor(random() * (c.last_sequence - s.first_sequence + 1))::bigint
             from span s join channel c using (tenant, channel), generate_series(1, $2) where s.generation = $1)
         limit $2`,
        [id, SAMPLE_PER_GENERATION],
      );
      sample.push(...rows.map(({ channel, sequence, raw }) => ({ id: `${channel}-${sequence}`, raw: raw.toString() })));
    }
    if (sample.length < generations.length * 5) throw new Error(`only ${sample.length} filled messages were found`);
    await firstVerdicts(stack, sample);
    return { sample, stored };
  } finally {
    await stack.stop();
  }
}

/** Old messages are duplicates of themselves, a new one is sequenced: anything else is wrong, whenever it is said. */
async function firstVerdicts(waybill, sample) {
  const body = lines([...sample.map(({ raw }) => raw), event()]);
  const { results } = JSON.parse(await post(`${waybill.http}/v1/events`, undefined, body, 'application/x-ndjson'));
  const fresh = results.pop();
  if (fresh.verdict !== 'sequenced') throw new Error(`a new event was ${JSON.stringify(fresh)}`);
  results.forEach((result, i) => {
    const right = result.verdict === 'duplicate' && result.of === sample[i].id;
    if (!right) throw new Error(`${sample[i].id} sent again was ${JSON.stringify(result)}`);
  });
}

async function killUnderLoad(waybill, cut) {
  const agent = new Agent({ keepAlive: true, maxSockets: ABREAST });
  let running = true;
  async function worker() {
    while (running) {
      // What is under way when it dies is answered to nobody.
      await post(`${waybill.http}/v1/events`, agent, batch(1000), 'application/x-ndjson').catch(() => undefined);
    }
  }
  const workers = Array.from({ length: ABREAST }, worker);
  await new Promise((resolve) => setTimeout(resolve, LOAD_MS));
  cut();
  await waybill.kill();
  running = false;
  await Promise.all(workers);
  agent.destroy();
}

/** As if the machine had stopped: no shutdown, the write-ahead log is all there is. */
function killPostgres(dataDir) {
  const cluster = join(dataDir, 'postgres');
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      if (
        readlinkSync(`/proc/${pid}/cwd`) !== cluster ||
        readFileSync(`/proc/${pid}/comm`, 'utf8').trim() !== 'postgres'
      )
        continue;
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended, or is somebody else's.
    }
  }
}

/** Leaves the directory with everything planned and sent, as other rows expect it. */
async function settle(dataDir) {
  const stack = await startStack({ rabbitmq: true, dataDir });
  try {
    const pool = stack.pool();
    await until(
      async () => {
        const { rows } = await pool.query(
          `select ((select sum(c.last_sequence - r.planned) from channel c join reader r using (tenant, channel))
           + (select count(*) from plan where open) + (select count(*) from delivery where state = 'pending'))::float8 as left`,
        );
        return rows[0].left === 0;
      },
      'everything to be sent',
      200,
    );
  } finally {
    await stack.stop();
  }
}
