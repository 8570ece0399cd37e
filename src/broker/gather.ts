import type { Writable } from 'node:stream';
import type { ChannelModel } from 'amqplib';

/**
 * Has a connection write what comes within one turn of the event loop together. amqplib writes every message by itself:
 * a system call each here, and the broker is woken as often. Gathered, the broker takes a seventh less processor time a
 * message, and we a sixteenth (measured end to end).
 */
export function gatherWrites(model: ChannelModel): void {
  const { stream } = model.connection as unknown as { readonly stream: Writable };
  const write = stream.write.bind(stream);
  let gathering = false;
  stream.write = ((...chunk: Parameters<Writable['write']>) => {
    if (!gathering) {
      gathering = true;
      stream.cork();
      process.nextTick(() => {
        gathering = false;
        stream.uncork();
      });
    }
    return write(...chunk);
  }) as Writable['write'];
}
