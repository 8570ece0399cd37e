import { join } from 'node:path';
import { until } from '../../support/until.js';
import type { Env, Installation, LogLine, Waybill } from '../../support/waybill.js';
import { type AmqpProxy, amqpProxy } from './amqp-proxy.js';
import { type PostgresProxy, postgresProxy } from './postgres-proxy.js';

export type Role = 'ingress' | 'owner' | 'web' | 'ledger';

export interface PostPlan {
  readonly name: string;
  /** Without them it has all. */
  readonly roles?: readonly Role[];
}

/** A place where a Waybill process runs, which dies and is started again; each start is another process. */
export class Post {
  #waybill: Waybill | null = null;
  #paused = false;
  #postgres: PostgresProxy | null = null;
  #amqp: AmqpProxy | null = null;
  readonly #logs: (readonly LogLine[])[] = [];
  /** How often it was killed. */
  kills = 0;

  constructor(
    readonly plan: PostPlan,
    private readonly site: Installation,
    private readonly env: Env,
  ) {}

  /** Puts proxies between its processes and their surroundings. */
  async through(what: readonly ('postgres' | 'amqp')[]): Promise<void> {
    if (what.includes('postgres')) this.#postgres = await postgresProxy(this.site.databaseUrl);
    if (what.includes('amqp')) this.#amqp = await amqpProxy(this.site.vhost.url);
  }

  get postgres(): PostgresProxy {
    if (!this.#postgres) throw new Error(`${this.name} has no proxy before PostgreSQL`);
    return this.#postgres;
  }

  get amqp(): AmqpProxy {
    if (!this.#amqp) throw new Error(`${this.name} has no proxy before RabbitMQ`);
    return this.#amqp;
  }

  get name(): string {
    return this.plan.name;
  }

  get dataDirectory(): string {
    return join(this.site.directory, `data-${this.name}`);
  }

  has(role: Role): boolean {
    return this.plan.roles?.includes(role) ?? true;
  }

  /** The process, while it is up and not stopped by a signal. */
  get up(): Waybill | null {
    return this.#waybill?.running && !this.#paused ? this.#waybill : null;
  }

  /** The process, which is up. */
  get waybill(): Waybill {
    if (!this.#waybill?.running) throw new Error(`${this.name} is not up`);
    return this.#waybill;
  }

  get isUp(): boolean {
    return this.#waybill?.running ?? false;
  }

  async start(): Promise<void> {
    if (this.isUp) return;
    this.#paused = false;
    const { roles } = this.plan;
    this.#waybill = await this.site.start({
      WAYBILL_DATA: this.dataDirectory,
      ...(roles && { WAYBILL_ROLES: roles.join(',') }),
      ...(this.#postgres && { DATABASE_URL: this.#postgres.url }),
      ...(this.#amqp && { AMQP_URL: this.#amqp.url }),
      ...this.env,
    });
    this.#logs.push(this.#waybill.log);
  }

  /** SIGKILL, and until it is gone. */
  async kill(): Promise<void> {
    const { pid } = this.waybill;
    this.kills++;
    process.kill(pid, 'SIGKILL');
    this.#waybill = null;
    this.#paused = false;
    await until(() => !isThere(pid), `process ${pid} to be gone`);
  }

  /** SIGTERM, and until it has ended well. */
  async stop(): Promise<void> {
    const { code, signal } = await this.waybill.stop();
    if (code !== 0) throw new Error(`${this.name} ended with ${code ?? signal} after SIGTERM`);
  }

  pause(): void {
    process.kill(this.waybill.pid, 'SIGSTOP');
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.isUp) process.kill(this.waybill.pid, 'SIGCONT');
  }

  async close(): Promise<void> {
    this.resume();
    if (this.isUp) await this.kill();
    await this.#postgres?.close();
    await this.#amqp?.close();
  }

  /** Its log over all its starts, oldest first. */
  log(): readonly LogLine[] {
    return this.#logs.flat();
  }
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
