import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** What the gauges show when somebody asks; read from the database or from memory at that moment. */
export interface Readings {
  /** Deliveries that wait, by tenant and target. */
  lag(): Promise<readonly { readonly tenant: string; readonly target: string; readonly messages: number }[]>;
  /** The inbox, by tenant: how many wait and for how many seconds the oldest. */
  inbox(): Promise<readonly { readonly tenant: string; readonly messages: number; readonly oldestSeconds: number }[]>;
  /** What was taken as a duplicate unseen and waits to be looked up, by tenant. */
  unseen(): Promise<readonly { readonly tenant: string; readonly messages: number }[]>;
  filters(): readonly { readonly generation: number; readonly fill: number; readonly ready: boolean }[];
  filterAnswers(): { readonly asked: number; readonly maybe: number; readonly found: number };
  waiting(): { readonly rows: number; readonly bytes: number };
  /** What waits for a broker that is away, by tenant, and whether no more is taken of it. */
  backlog(): readonly { readonly tenant: string; readonly messages: number; readonly full: boolean }[];
  /** How far this machine's clock is ahead of the database's. */
  clockOffsetMs(): number;
  /** Sources whose queues this process is to consume, and whether it does. */
  queues(): readonly { readonly tenant: string; readonly source: string; readonly consuming: boolean }[];
}

/** Everything `/metrics` tells. No account and no message is ever a label. */
export interface Metrics {
  readonly registry: Registry;
  readonly accepted: Counter<'tenant' | 'source' | 'verdict'>;
  readonly acceptSeconds: Histogram;
  readonly refused: Counter<'ingress' | 'code'>;
  readonly undecodable: Counter<'tenant' | 'source'>;
  readonly quarantined: Counter<'tenant' | 'cause'>;
  readonly attempts: Counter<'outcome'>;
  readonly deliveries: Counter<'tenant' | 'target' | 'result'>;
  readonly paused: Counter<'tenant' | 'target' | 'code'>;
  readonly pushedBack: Counter<'tenant' | 'why'>;
  readonly retention: Counter<'what'>;
  readonly unseen: Counter<'tenant' | 'source' | 'became'>;
  readonly unseenValue: Counter<'tenant' | 'source'>;
}

export function createMetrics(readings: Readings): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  gauges(registry, readings);
  return {
    registry,
    accepted: new Counter({
      name: 'waybill_accepted_total',
      help: 'Messages decided, by what was said of them.',
      labelNames: ['tenant', 'source', 'verdict'],
      registers,
    }),
    acceptSeconds: new Histogram({
      name: 'waybill_accept_duration_seconds',
      help: 'From a message being read to its verdict being durable.',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers,
    }),
    refused: new Counter({
      name: 'waybill_refused_total',
      help: 'What was refused before it became a message.',
      labelNames: ['ingress', 'code'],
      registers,
    }),
    undecodable: new Counter({
      name: 'waybill_undecodable_total',
      help: 'What came by a queue and went to the quarantine, because no message could be made of it.',
      labelNames: ['tenant', 'source'],
      registers,
    }),
    quarantined: new Counter({
      name: 'waybill_quarantined_total',
      help: 'What went to the quarantine, by cause; the same again is counted again.',
      labelNames: ['tenant', 'cause'],
      registers,
    }),
    attempts: new Counter({
      name: 'waybill_attempts_total',
      help: 'Tries to read content, by how they ended.',
      labelNames: ['outcome'],
      registers,
    }),
    deliveries: new Counter({
      name: 'waybill_deliveries_total',
      help: 'Tries to deliver, by how they ended.',
      labelNames: ['tenant', 'target', 'result'],
      registers,
    }),
    paused: new Counter({
      name: 'waybill_target_paused_total',
      help: 'Targets paused because of what they answered.',
      labelNames: ['tenant', 'target', 'code'],
      registers,
    }),
    pushedBack: new Counter({
      name: 'waybill_pushed_back_total',
      help: 'Messages whose senders were told to come back: the line is full (busy), too much waits for the broker (backlog), nothing can be stored (unavailable).',
      labelNames: ['tenant', 'why'],
      registers,
    }),
    retention: new Counter({
      name: 'waybill_retention_total',
      help: 'What retention did: generations whose content was dropped, open messages moved on before, faults found in what was dropped, and entries of the quarantine dropped.',
      labelNames: ['what'],
      registers,
    }),
    unseen: new Counter({
      name: 'waybill_unseen_total',
      help: 'Messages taken as duplicates by a filter alone (kept), and what they were when they were looked up (duplicate, original, conflict).',
      labelNames: ['tenant', 'source', 'became'],
      registers,
    }),
    unseenValue: new Counter({
      name: 'waybill_unseen_original_value_total',
      help: 'What those were worth that were originals, in absolute values; the exact figure is in /v1/channels.',
      labelNames: ['tenant', 'source'],
      registers,
    }),
  };
}

function gauges(registry: Registry, readings: Readings): void {
  const registers = [registry];
  new Gauge({
    name: 'waybill_target_lag_messages',
    help: 'Deliveries that wait, by target.',
    labelNames: ['tenant', 'target'],
    registers,
    async collect() {
      this.reset();
      for (const { tenant, target, messages } of await readings.lag()) this.set({ tenant, target }, messages);
    },
  });
  const inbox = new Gauge({
    name: 'waybill_inbox_messages',
    help: 'Messages that wait for a person.',
    labelNames: ['tenant'],
    registers,
  });
  new Gauge({
    name: 'waybill_inbox_oldest_seconds',
    help: 'How long the oldest message in the inbox has waited.',
    labelNames: ['tenant'],
    registers,
    async collect() {
      this.reset();
      inbox.reset();
      for (const { tenant, messages, oldestSeconds } of await readings.inbox()) {
        this.set({ tenant }, oldestSeconds);
        inbox.set({ tenant }, messages);
      }
    },
  });
  new Gauge({
    name: 'waybill_unseen_messages',
    help: 'Messages taken as duplicates by a filter alone that have not been looked up yet.',
    labelNames: ['tenant'],
    registers,
    async collect() {
      this.reset();
      for (const { tenant, messages } of await readings.unseen()) this.set({ tenant }, messages);
    },
  });
  new Gauge({
    name: 'waybill_filter_fill_ratio',
    help: 'Share of bits set in the filter of each generation.',
    labelNames: ['generation'],
    registers,
    collect() {
      this.reset();
      for (const { generation, fill } of readings.filters()) this.set({ generation: String(generation) }, fill);
    },
  });
  new Gauge({
    name: 'waybill_filter_ready',
    help: 'Whether the filter of each generation is used (1) or the generation is looked up (0).',
    labelNames: ['generation'],
    registers,
    collect() {
      this.reset();
      for (const { generation, ready } of readings.filters())
        this.set({ generation: String(generation) }, ready ? 1 : 0);
    },
  });
  new Gauge({
    name: 'waybill_filter_false_maybe_ratio',
    help: 'Keys the filters called "maybe seen" that the store did not have, per key asked.',
    registers,
    collect() {
      const { asked, maybe, found } = readings.filterAnswers();
      this.set(asked === 0 ? 0 : Math.max(0, maybe - found) / asked);
    },
  });
  new Gauge({
    name: 'waybill_source_consuming',
    help: 'Whether this process consumes the queue of a source (1); of all processes, one does.',
    labelNames: ['tenant', 'source'],
    registers,
    collect() {
      this.reset();
      for (const { tenant, source, consuming } of readings.queues()) this.set({ tenant, source }, consuming ? 1 : 0);
    },
  });
  const full = new Gauge({
    name: 'waybill_broker_backlog_full',
    help: 'Whether no more messages are taken of a tenant because too many wait for the broker (1).',
    labelNames: ['tenant'],
    registers,
  });
  new Gauge({
    name: 'waybill_broker_backlog_messages',
    help: 'Deliveries that wait for a broker that is away or in alarm, by tenant; none while it is there.',
    labelNames: ['tenant'],
    registers,
    collect() {
      this.reset();
      full.reset();
      for (const { tenant, messages, full: isFull } of readings.backlog()) {
        this.set({ tenant }, messages);
        full.set({ tenant }, isFull ? 1 : 0);
      }
    },
  });
  new Gauge({
    name: 'waybill_clock_offset_seconds',
    help: "How far this machine's clock is ahead of the database's.",
    registers,
    collect() {
      this.set(readings.clockOffsetMs() / 1000);
    },
  });
  new Gauge({
    name: 'waybill_accept_waiting_messages',
    help: 'Messages waiting for the next commit.',
    registers,
    collect() {
      this.set(readings.waiting().rows);
    },
  });
}
