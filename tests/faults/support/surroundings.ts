import { spawnSync } from 'node:child_process';
import { lstatSync, readlinkSync, statfsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { RabbitmqNode } from '../../../bin/rabbitmq.d.mts';
import { startRabbitmq } from '../../../bin/rabbitmq.mjs';
import { startEmbedded } from '../../../src/storage/embedded.js';
import { realClock } from '../../support/clock.js';
import { temporaryDirectory } from '../../support/directory.js';
import { silent } from '../../support/log.js';
import type { Broker } from '../../support/rabbitmq.js';
import { until } from '../../support/until.js';
import type { Env, Installation } from '../../support/waybill.js';

/* Servers, disks and clocks that belong to one run alone, so that it may break them. */

/** Asks the members of each quorum queue for their leader, and has one elected where none answers within a second. */
const ELECT_LEADERS = `[begin Id = amqqueue:get_pid(Q), case ra:members(Id, 1000) of {ok, _, _} -> led;
  _ -> ra:trigger_election(Id), asked end end || Q <- rabbit_amqqueue:list_by_type(rabbit_quorum_queue)].`;

/** A RabbitMQ node that is stopped and started again with what it holds. */
export class PrivateBroker implements Broker {
  private constructor(
    private readonly directory: string,
    private node: RabbitmqNode,
  ) {}

  static async start(): Promise<PrivateBroker> {
    const directory = join(await temporaryDirectory(), 'rabbitmq');
    const broker = new PrivateBroker(directory, await startRabbitmq({ directory, say: () => undefined }));
    onTestFinished(() => broker.node.kill());
    return broker;
  }

  /** The ports stay the same over its starts. */
  get url(): string {
    return this.node.url;
  }

  get management(): string {
    return this.node.management;
  }

  async restart(how: 'stop' | 'kill', whileAway: () => Promise<unknown>): Promise<void> {
    const { url } = this;
    await (how === 'stop' ? this.node.stop() : this.node.kill());
    try {
      await whileAway();
    } finally {
      this.node = await startRabbitmq({ directory: this.directory, say: () => undefined });
    }
    if (this.node.url !== url) throw new Error('the port of the stopped broker was taken meanwhile');
    await until(() => this.#electLeaders(), 'every queue to have a leader', 60_000);
  }

  /**
   * What docs/operations.md has an operator do for the queues that a killed node leaves without a leader, now and then
   * and for ever (rabbitmq-server issue 10070). True once each has one.
   */
  async #electLeaders(): Promise<boolean> {
    const answer = await this.node.control('eval', ELECT_LEADERS);
    return !answer.includes('asked');
  }

  /** The memory it may use before it stops taking messages: a share of the machine's, or bytes. */
  async limitMemory(limit: 'usual' | 'nothing'): Promise<void> {
    const mark = limit === 'usual' ? ['0.6'] : ['absolute', '1MB'];
    await this.node.control('set_vm_memory_high_watermark', ...mark);
  }
}

/** A PostgreSQL server that is started again when it dies, as a service would be. */
export class PrivatePostgres {
  private constructor(private readonly server: Awaited<ReturnType<typeof startEmbedded>>) {}

  static async start(directory?: string): Promise<PrivatePostgres> {
    const dataDir = join(directory ?? (await temporaryDirectory()), 'data');
    const postgres = new PrivatePostgres(
      await startEmbedded({ dataDir, log: silent, clock: realClock, logAhead: false }),
    );
    onTestFinished(() => postgres.server.stop());
    return postgres;
  }

  get url(): string {
    return this.server.url;
  }

  /** Resolves when another server is there. */
  async end(signal: ServerEnd): Promise<void> {
    const before = await until(() => this.server.pid, 'the server to run', 30_000);
    process.kill(before, signal);
    await until(() => this.server.pid !== before && this.server.pid, 'the server to be started again', 60_000);
  }
}

/** A fast shutdown, an immediate one, and none. */
export type ServerEnd = 'SIGINT' | 'SIGQUIT' | 'SIGKILL';

/** Where the embedded server of a data directory is reached, from outside. It may move when it is started again. */
export function embeddedUrl(data: string): string {
  const sockets = join(data, 'run');
  const directory = lstatSync(sockets).isSymbolicLink() ? readlinkSync(sockets) : sockets;
  return `postgres://waybill@localhost/waybill?host=${encodeURIComponent(directory)}`;
}

/** Its process. */
export async function embeddedPid(data: string): Promise<number> {
  const [pid] = (await readFile(join(data, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
  return Number(pid);
}

/** A disk of so many MB, which can be filled. */
export class SmallDisk {
  private constructor(readonly directory: string) {}

  /** Why there can be none; null when there can. */
  static impossible(): string | null {
    const { status } = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']);
    return status === 0 ? null : 'a small disk needs the right to mount a tmpfs, which this user has not';
  }

  static async mount(megabytes: number): Promise<SmallDisk> {
    const directory = join(await temporaryDirectory(), 'disk');
    await mkdir(directory);
    run('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'tmpfs', directory);
    onTestFinished(() => {
      run('umount', '--lazy', directory);
    });
    return new SmallDisk(directory);
  }

  /** Leaves so much of it free, in percent. */
  leave(percent: number): void {
    const { bavail, blocks, bsize } = statfsSync(this.directory);
    const length = Math.max(1, Math.floor((bavail - (blocks * percent) / 100) * bsize));
    run('fallocate', '--length', String(length), join(this.directory, 'ballast'));
  }

  /** Takes every byte, while others want some, too. */
  fill(): void {
    this.leave(5);
    spawnSync('dd', ['if=/dev/zero', `of=${join(this.directory, 'ballast')}`, 'bs=4k', 'conv=notrunc', 'oflag=append']);
  }

  async empty(): Promise<void> {
    await rm(join(this.directory, 'ballast'), { force: true });
  }
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** A wall clock that jumps; the monotonic one goes on as it is. For the processes of an installation. */
export class JumpingClock {
  private constructor(private readonly file: string) {}

  static async of(site: Installation): Promise<JumpingClock> {
    const clock = new JumpingClock(join(site.directory, 'clock'));
    await clock.jumpTo(0);
    return clock;
  }

  get env(): Env {
    const shim = fileURLToPath(new URL('jumping-clock.cjs', import.meta.url));
    return { NODE_OPTIONS: `--require ${shim}`, WAYBILL_TEST_CLOCK: this.file };
  }

  /** So many hours ahead of the true time, or behind it. Seen within a tenth of a second. */
  async jumpTo(hours: number): Promise<void> {
    await writeFile(this.file, String(hours * 3_600_000));
  }
}
