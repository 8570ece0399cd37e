import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export interface DocumentedConsumer {
  /** For `process.execPath`, with STATE, AMQP_URL and QUEUE in its environment. */
  readonly file: string;
  /** Of one's own, for its state. */
  readonly directory: string;
  readonly lines: number;
}

/** The first JavaScript of docs/consumer.md, in a directory from which it finds the packages. It goes with the test. */
export async function documentedConsumer(): Promise<DocumentedConsumer> {
  const page = await readFile('docs/consumer.md', 'utf8');
  const code = /```js\n(.*?)```/s.exec(page)?.[1];
  if (!code) throw new Error('docs/consumer.md holds no consumer');
  const directory = await mkdtemp(join(process.cwd(), '.waybill-consumer-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  const file = join(directory, 'consumer.mjs');
  await writeFile(file, code);
  return { file, directory, lines: code.split('\n').length };
}
